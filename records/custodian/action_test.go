package custodian_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/recordstest"
)

const tokenURL = "https://gateway.example/token"

// writers is a ward where people and a system may write, with the scopes for it.
func writers(t testing.TB) (w *ward, loader policy.Subject) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := still()
	o.Trust = func(trust *policy.Trust) {
		trust.TokenURLs = []string{tokenURL}
		trust.Clients = append(trust.Clients, policy.Client{
			ID: "loader", Kind: policy.ClientSystem, Keys: policy.NewJWKS(jose.JSONWebKey{Key: key.Public(), KeyID: "1", Algorithm: "ES384", Use: "sig"}),
			Types: []string{"*"}, Actions: []string{policy.Create, policy.Update, policy.Delete},
			Purposes: []string{"TREAT"}, Default: "TREAT", Scopes: []string{"system/*.cruds"},
		})
		for i := range trust.Clients {
			if c := &trust.Clients[i]; c.ID == recordstest.ClientEHR {
				c.Scopes, c.Purposes = []string{"user/*.cruds"}, append(c.Purposes, "RECORDMGT")
			}
		}
	}
	w = newWard(t, o)
	now := w.Clock.Now()
	claims, err := json.Marshal(map[string]any{"iss": "loader", "sub": "loader", "aud": tokenURL, "jti": "1", "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	session := policy.AssertionSession(assertion)
	index := w.Enter(chain.Entry{Kind: chain.SignIn, Actor: "Client/loader", Client: "loader", Session: session, Statement: policy.SignIn{
		Session: session, Client: "loader", End: now.Add(30 * time.Minute).UnixMilli(), Token: assertion, Form: policy.FormClientAssertion,
	}.Encode()})
	loader, ok := w.State.Session(index)
	if !ok {
		t.Fatal("the loader has no session")
	}
	return w, loader
}

// Who may write a record, or delete it, is not therefore shown it: neither consent
// nor its denial is asked about a write.
func TestNothingIsOpenedForAWrite(t *testing.T) {
	w, loader := writers(t)
	clerk := w.SignIn("Practitioner/r1", "records")
	w.Relate(policy.Relation{Kind: policy.Treats, Subject: doctor, Patient: other})
	_, attributes := observation(t, "o3", other, "N")
	for name, tc := range map[string]struct {
		subject policy.Subject
		action  string
		purpose string
	}{
		"a loader that updates":        {loader, policy.Update, "TREAT"},
		"a loader that creates":        {loader, policy.Create, "TREAT"},
		"a loader that deletes":        {loader, policy.Delete, "TREAT"},
		"a related doctor who updates": {w.doctor, policy.Update, "TREAT"},
		"a related doctor who creates": {w.doctor, policy.Create, "TREAT"},
		"a records clerk who deletes":  {clerk, policy.Delete, "RECORDMGT"},
		"an action that there is not":  {w.doctor, "export", "TREAT"},
		"an action of no name":         {w.doctor, "", "TREAT"},
		"a read in capitals":           {w.doctor, "Read", "TREAT"},
	} {
		a := w.attempt(t, tc.subject, w.foreign)
		a.request.Action, a.entry.Action = tc.action, tc.action
		a.request.Purpose, a.entry.Purpose = tc.purpose, tc.purpose
		// The gateway permits the write, and the entry says no more than that.
		d := w.Engine.Decide(t.Context(), w.State, policy.Request{
			Subject: tc.subject, Action: tc.action, Purpose: tc.purpose, Scopes: a.request.Scopes, Resource: attributes,
		}, w.Clock.Now())
		writes := tc.action == policy.Create || tc.action == policy.Update || tc.action == policy.Delete
		if writes && !d.Permit {
			t.Errorf("%s: the rules do not permit it: %s", name, d.Reason)
		}
		a.entry.Reason = string(d.Reason)
		if got := w.ask(t, w.release(t, a)).Releases[0]; got.Refusal != records.RefusedBad || got.Box != nil {
			t.Errorf("%s: answered %q and a box of %d bytes", name, got.Refusal, len(got.Box))
		}
	}
	// The same people read what they may read.
	for _, action := range []string{policy.Read, policy.Search, policy.History} {
		a := w.attempt(t, w.doctor, w.envelope)
		a.request.Action, a.entry.Action = action, action
		if got := w.ask(t, w.release(t, a)).Releases[0]; got.Refusal != "" || got.Box == nil {
			t.Errorf("%s: refused for %q", action, got.Refusal)
		}
	}
}
