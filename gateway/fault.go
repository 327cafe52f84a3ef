package gateway

import (
	"context"
	"errors"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/policy"
)

// disclose fetches, logs and opens; see [Gateway.fetchAndOpen]. What the store
// holds and was not sealed there comes to one answer, whatever was done to it:
// exchanged, rolled back or garbled. It is a denial, and in the log of the
// patients concerned, for somebody may have meant to find out what it leads to.
func (g *Gateway) disclose(ctx context.Context, k *call, groups []*group, lenient bool) (map[*candidate]*fhir.Resource, error) {
	opened, err := g.fetchAndOpen(ctx, k, groups, lenient)
	if err == nil || !broken(err) {
		return opened, err
	}
	var denials []chain.Entry
	for _, gr := range groups {
		if len(gr.items) == 0 {
			continue
		}
		e := g.faultEntry(k)
		e.Patient, e.Action = gr.patient, gr.action
		for _, c := range gr.items {
			e.Resources = append(e.Resources, c.ref())
		}
		denials = append(denials, e)
	}
	if err := g.append(ctx, k, denials...); err != nil {
		return nil, err
	}
	return nil, refuse(integrity, err)
}

// broken is true of errors that say that what is stored is not what was sealed.
func broken(err error) bool {
	return classify(err).kind == integrity || errors.Is(err, client.ErrAnswer)
}

// faultEntry is the denial of what cannot be opened as it was sealed.
func (g *Gateway) faultEntry(k *call) chain.Entry {
	digest := g.c.Engine.Digest()
	e := k.entry(chain.Deny)
	e.Decision, e.Reason, e.Policy = decisionDeny, string(policy.Failed), digest[:]
	k.reason = policy.Failed
	return e
}

// faulted logs a fault that was found before anything of the request was in the
// log, in the index itself, say. It is the tenant's: whose record it is cannot
// be believed.
func (g *Gateway) faulted(ctx context.Context, k *call, err error) error {
	if classify(err).kind != integrity || k.entryHeader() != "" {
		return err
	}
	e := g.faultEntry(k)
	e.Resources = []chain.Resource{{Type: k.typ, ID: validOrNone(k.id)}}
	if failed := g.append(ctx, k, e); failed != nil {
		return failed
	}
	return err
}
