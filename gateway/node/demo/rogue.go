package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway/node"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
)

// A Rogue is a gateway that asks nobody: it has all that the honest one has (the
// log, the store, the connections to the custodians, the sessions of those who
// are signed in), writes "permit" into the log whatever the policy says, and
// asks the custodians to open. It is here to show that this yields nothing more.
type Rogue struct {
	gateway *node.Gateway
}

// NewRogue turns a running gateway to the bad.
func NewRogue(g *node.Gateway) *Rogue { return &Rogue{gateway: g} }

// A Theft is what a rogue gateway claims, and wants.
type Theft struct {
	SignIn  uint64 // the sign-in entry it cites
	Actor   string // who is said to ask
	Role    string
	Purpose string
	Scopes  []string
	Record  fhir.Ref
	Patient string   // "Patient/…", whose record it is
	Grants  []string // what it claims the permit rests on
}

// Steal logs a permit of its own making and asks the custodians. The custodians'
// refusal comes as a [*records.RefusedError].
func (r *Rogue) Steal(ctx context.Context, t Theft) (*fhir.Resource, error) {
	g := r.gateway
	stored, err := g.Upstream.Read(ctx, t.Record.Type, t.Record.ID)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", t.Record, err)
	}
	if stored.Resource == nil {
		return nil, fmt.Errorf("fetch %s: deleted", t.Record)
	}
	envelope, err := records.FromSkeleton(stored.Resource)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", t.Record, err)
	}
	opening, err := g.Quorum.Prepare(records.Asking{
		SignIn: t.SignIn, Action: policy.Read, Purpose: t.Purpose, Scopes: t.Scopes,
	}, []*records.Envelope{envelope})
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", t.Record, err)
	}
	// But for the permit the entry tells the truth: custodians compare the rest
	// with the sign-in and the request, and a lie there would only be found sooner.
	session, _ := g.State.Session(t.SignIn)
	digest := g.Engine.Digest()
	receipts, err := g.Log.Append(ctx, chain.Entry{
		Kind: chain.Access, Actor: t.Actor, Role: t.Role, SignIn: t.SignIn, Patient: t.Patient,
		Client: session.Client, Session: session.Session, Scopes: t.Scopes,
		Action: policy.Read, Purpose: t.Purpose, Decision: "permit", Reason: string(policy.Permitted),
		Policy: digest[:], Grants: t.Grants, Resources: opening.Resources(), Request: opening.Hash(),
	})
	if err != nil {
		return nil, fmt.Errorf("log a permit: %w", err)
	}
	opened, err := g.Quorum.Open(ctx, opening, receipts[0])
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

// refusedFor wants the custodians, and nobody else, to have refused, for one of
// the reasons.
func refusedFor(opened *fhir.Resource, err error, reasons ...policy.Reason) error {
	if err == nil {
		return fmt.Errorf("a gateway that asks nobody opened %s", pathOf(opened))
	}
	refusal, ok := errors.AsType[*records.RefusedError](err)
	if !ok {
		return fmt.Errorf("the custodians should have refused, and did not: %w", err)
	}
	for _, r := range reasons {
		if refusal.Reason == r {
			return nil
		}
	}
	return fmt.Errorf("the custodians refused for %q, want one of %q", refusal.Reason, reasons)
}
