package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway/node/demo"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
)

// stealBy is [demo.Rogue.Steal] for another action than reading. The entry is
// true in everything but that the policy was asked.
func (c *conspiracy) stealBy(ctx context.Context, t *testing.T, theft demo.Theft, action string) (*fhir.Resource, error) {
	t.Helper()
	g := c.inside.Gateway()
	stored, err := g.Upstream.Read(ctx, theft.Record.Type, theft.Record.ID)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := records.FromSkeleton(stored.Resource)
	if err != nil {
		t.Fatal(err)
	}
	opening, err := g.Quorum.Prepare(records.Asking{
		SignIn: theft.SignIn, Action: action, Purpose: theft.Purpose, Scopes: theft.Scopes,
	}, []*records.Envelope{envelope})
	if err != nil {
		t.Fatal(err)
	}
	session, ok := g.State.Session(theft.SignIn)
	if !ok {
		t.Fatal("nobody is signed in")
	}
	digest := g.Engine.Digest()
	receipts, err := g.Log.Append(ctx, chain.Entry{
		Kind: chain.Access, Actor: theft.Actor, Role: theft.Role, SignIn: theft.SignIn, Client: session.Client, Session: session.Session,
		Scopes: theft.Scopes, Patient: theft.Patient, Action: action, Purpose: theft.Purpose, Decision: "permit",
		Reason: string(policy.Permitted), Policy: digest[:], Resources: opening.Resources(), Request: opening.Hash(),
	})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := g.Quorum.Open(ctx, opening, receipts[0])
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

// TestWhoMayWriteARecordIsNotShownIt: the loader may create, update and delete
// what it likes, and a doctor what the patient granted; neither is a reason to
// open anything.
func TestWhoMayWriteARecordIsNotShownIt(t *testing.T) {
	t.Parallel()
	c := conspire(t)
	loader := c.signIn(t, c.Tokens.Loader)
	byLoader := c.theft(t)
	byLoader.SignIn, byLoader.Actor, byLoader.Role = loader.SignIn, loader.Actor, loader.Role
	byLoader.Purpose, byLoader.Scopes = loader.Purpose, []string{"system/*.cruds"}
	byDoctor := c.theft(t)
	grant, digest := c.preview(t, c.Tokens.Patient, c.Patients.A, time.Now().Add(time.Hour).Truncate(time.Second))
	if r := c.ask(t, http.MethodPost, "/api/grants", c.Tokens.Patient, map[string]any{
		"grant": grant, "signature": signature(t, c.Keys.Patient, "wardkey-grant-v1\x00", digest),
	}); r.status != http.StatusCreated {
		t.Fatalf("grant: %d %s", r.status, r.body)
	}
	for who, theft := range map[string]demo.Theft{"the loader": byLoader, "the doctor": byDoctor} {
		for _, action := range []string{policy.Create, policy.Update, policy.Delete, "", "Read", "everything"} {
			opened, err := c.stealBy(t.Context(), t, theft, action)
			if err == nil {
				t.Errorf("%s by %q: opened %s", who, action, opened.JSON())
			}
		}
	}
	// It is the action alone that was wrong.
	if opened, err := c.stealBy(t.Context(), t, byDoctor, policy.Read); err != nil || opened.ID() != c.record {
		t.Errorf("the doctor, reading what was granted: %v", err)
	}
}
