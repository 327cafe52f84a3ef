package recordstest

import (
	"context"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
)

// Seal seals the first revision of a resource, with attributes as the gateway
// makes them, and enters the write.
func (h *Hospital) Seal(r *fhir.Resource) *records.Envelope {
	h.T.Helper()
	a := must(policy.Describe(r, policy.DefaultLabelling(), h.Clock.Now()))(h.T)
	return h.SealAs(r, a, 1)
}

// SealAs seals with attributes of one's choice.
func (h *Hospital) SealAs(r *fhir.Resource, a policy.Resource, revision uint64) *records.Envelope {
	h.T.Helper()
	e := must(h.Sealer.Seal(r, a, revision))(h.T)
	digest := e.Digest()
	h.Append(chain.Entry{
		Kind: chain.Write, Actor: "Client/loader", Action: lo.Ternary(revision == 1, policy.Create, policy.Update), Patient: e.Label.Compartment,
		Resources: []chain.Resource{{Type: r.Type(), ID: r.ID(), Revision: revision, Digest: digest[:]}},
	})
	return e
}

// Scopes are those that a subject's client is registered for.
func (h *Hospital) Scopes(s policy.Subject) []string {
	client, _ := h.Trust.Client(s.Client)
	return client.Scopes
}

// Ask prepares the opening of envelopes and the entry that would permit it. A
// test alters either before it goes on with [Hospital.OpenAs].
func (h *Hospital) Ask(s policy.Subject, purpose string, envelopes ...*records.Envelope) (*records.Opening, chain.Entry) {
	h.T.Helper()
	scopes := h.Scopes(s)
	o := must(h.Quorum.Prepare(records.Asking{SignIn: s.SignIn, Action: policy.Read, Purpose: purpose, Scopes: scopes}, envelopes))(h.T)
	digest, reason := h.Engine.Digest(), policy.Permitted
	if s.ID == envelopes[0].Label.Compartment {
		reason = policy.PermittedOwn
	}
	return o, chain.Entry{
		Kind: chain.Access, Actor: s.ID, Role: strings.Join(s.Roles, " "), SignIn: s.SignIn, Session: s.Session, Client: s.Client,
		Patient: envelopes[0].Label.Compartment, Action: policy.Read, Purpose: purpose, Scopes: scopes,
		Decision: "permit", Reason: string(reason), Policy: digest[:],
		Resources: o.Resources(), Request: o.Hash(),
	}
}

// OpenAs enters e and opens o on the strength of it.
func (h *Hospital) OpenAs(ctx context.Context, o *records.Opening, e chain.Entry) ([]*fhir.Resource, error) {
	h.T.Helper()
	receipts := must(h.Log.Append(ctx, e))(h.T)
	return h.Quorum.Open(ctx, o, receipts[0])
}

// Read logs a permit and opens the envelopes, which are of one patient. It asks
// no policy: only the custodians stand in its way.
func (h *Hospital) Read(ctx context.Context, s policy.Subject, purpose string, envelopes ...*records.Envelope) ([]*fhir.Resource, error) {
	h.T.Helper()
	o, e := h.Ask(s, purpose, envelopes...)
	return h.OpenAs(ctx, o, e)
}
