package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

const (
	decisionPermit = "permit"
	decisionDeny   = "deny"
)

// A candidate is a record that the index knows, as policy sees it.
type candidate struct {
	row        index.Row
	attributes policy.Resource
	decision   policy.Decision
}

// ref names the revision in the log. The digest is in the index as it was
// written; nothing needs to be fetched to name it.
func (c *candidate) ref() chain.Resource {
	return chain.Resource{Type: c.row.Type, ID: c.row.ID, Revision: c.row.Revision, Digest: digestOf(c.row)}
}

// digestOf is nil for what does not exist: the log takes 32 bytes or none.
func digestOf(row index.Row) []byte {
	if row.Revision == 0 {
		return nil
	}
	return row.Digest[:]
}

// candidateOf opens the attributes that the index keeps sealed.
func (g *Gateway) candidateOf(row index.Row) (*candidate, error) {
	attributes, err := g.opened.of(row)
	if err != nil {
		return nil, refuse(integrity, fmt.Errorf("index row of %s/%s: %w", row.Type, row.ID, err))
	}
	return &candidate{row: row, attributes: attributes}, nil
}

// absent stands in for a record that does not exist, so that what is denied and
// what is absent take the same way: decided on, logged, answered.
func absent(typ, id string) *candidate {
	return &candidate{row: index.Row{Type: typ, ID: id}, attributes: policy.Resource{Type: typ, ID: id}}
}

// exists is false for what [absent] made.
func (c *candidate) exists() bool { return c.row.Revision > 0 }

// decide asks policy about one candidate. Nobody is permitted what is not there.
func (g *Gateway) decide(ctx context.Context, k *call, action string, c *candidate) {
	c.decision = g.c.Engine.Decide(ctx, g.c.State, k.request(action, c.attributes), k.now)
	if c.decision.Permit && !c.exists() {
		c.decision = policy.Decision{Reason: policy.NoGrant, Rule: "absent", Policy: c.decision.Policy}
	}
	g.metrics.decision(c.decision)
}

// append writes entries into the log and notes them on the call. Whatever is
// answered afterwards rests on it, so its failure is the request's.
func (g *Gateway) append(ctx context.Context, k *call, entries ...chain.Entry) error {
	_, err := g.appendFor(ctx, k, entries...)
	return err
}

func (g *Gateway) appendFor(ctx context.Context, k *call, entries ...chain.Entry) ([]chain.Receipt, error) {
	// A caller who hangs up does not thereby decide what is in the log.
	receipts, err := g.c.Chain.Append(context.WithoutCancel(ctx), entries...)
	if err != nil {
		return nil, refuse(logDown, fmt.Errorf("log %s: %w", entries[0].Kind, err))
	}
	k.logged(receipts)
	return receipts, nil
}

// deny logs a denial of one candidate and returns the answer that hides it.
func (g *Gateway) deny(ctx context.Context, k *call, c *candidate) error {
	if err := g.append(ctx, k, g.denial(k, c)); err != nil {
		return err
	}
	k.reason = c.decision.Reason
	return refuse(hidden, nil)
}

func (g *Gateway) denial(k *call, c *candidate) chain.Entry {
	e := k.entry(chain.Deny)
	e.Patient = c.row.Patient
	e.Decision, e.Reason, e.Policy = decisionDeny, string(c.decision.Reason), c.decision.Policy[:]
	e.Resources = []chain.Resource{c.ref()}
	return e
}

// A group is what one entry covers: what is opened of one patient.
type group struct {
	patient string
	action  string       // in policy's words
	items   []*candidate // permitted, in the order they are answered in
	denied  uint64       // how many were not, where they are not listed
	reason  policy.Reason
	policy  [32]byte

	opening *records.Opening
}

// byReason splits groups whose items were permitted for different reasons: an
// entry states one, and custodians hold it against what they find themselves. The
// denied are counted with the first part.
func byReason(groups []*group) []*group {
	return lo.FlatMap(groups, func(gr *group, _ int) []*group {
		parts := lo.PartitionBy(gr.items, func(c *candidate) policy.Reason { return c.decision.Reason })
		if len(parts) < 2 {
			return []*group{gr}
		}
		return lo.Map(parts, func(items []*candidate, i int) *group {
			part := *gr
			part.items = items
			if i > 0 {
				part.denied = 0
			}
			return &part
		})
	})
}

// entry is the group's, before it has an opening.
func (gr *group) entry(k *call) chain.Entry {
	e := k.entry(chain.Access)
	e.Patient, e.Action, e.Count = gr.patient, gr.action, gr.denied
	e.Decision, e.Reason, e.Policy = decisionPermit, string(gr.reason), gr.policy[:]
	if len(gr.items) == 0 {
		if gr.denied > 0 {
			e.Kind, e.Decision = chain.Deny, decisionDeny
		}
		return e
	}
	first := gr.items[0].decision
	e.Reason, e.Policy = string(first.Reason), first.Policy[:]
	for _, c := range gr.items {
		e.Grants = append(e.Grants, c.decision.Grants...)
	}
	slices.Sort(e.Grants)
	e.Grants = slices.Compact(e.Grants)
	if gr.opening != nil {
		e.Request, e.Resources = gr.opening.Hash(), gr.opening.Resources()
	}
	return e
}

// fetchAndOpen is the straight path: fetch the sealed bytes, make the requests, log
// them, and only then have the custodians open. The resources come by
// candidate; a group that the custodians refuse comes to nothing, and lenient
// says whether that is an answer or a denial.
func (g *Gateway) fetchAndOpen(ctx context.Context, k *call, groups []*group, lenient bool) (map[*candidate]*fhir.Resource, error) {
	sealed, err := g.fetch(ctx, lo.FlatMap(groups, func(gr *group, _ int) []*candidate { return gr.items }))
	if err != nil {
		return nil, err
	}
	for _, gr := range groups {
		if len(gr.items) == 0 {
			continue
		}
		gr.opening, err = g.c.Quorum.Prepare(records.Asking{
			SignIn: k.session.Subject.SignIn, Action: gr.action, Purpose: k.purpose, Scopes: k.session.Scope,
		}, lo.Map(gr.items, func(c *candidate, _ int) *records.Envelope { return sealed[c] }))
		if err != nil {
			return nil, refuse(integrity, err)
		}
	}
	receipts, err := g.appendFor(ctx, k, lo.Map(groups, func(gr *group, _ int) chain.Entry { return gr.entry(k) })...)
	if err != nil {
		return nil, err
	}
	opened := make([][]*fhir.Resource, len(groups))
	together, ctx := errgroup.WithContext(ctx)
	for i, gr := range groups {
		if gr.opening == nil {
			continue
		}
		together.Go(func() (err error) {
			opened[i], err = g.open(ctx, k, gr, receipts[i])
			if _, refused := errors.AsType[*records.RefusedError](err); refused && lenient {
				return nil
			}
			return err
		})
	}
	if err := together.Wait(); err != nil {
		return nil, err
	}
	out := map[*candidate]*fhir.Resource{}
	for i, gr := range groups {
		for j, r := range opened[i] {
			if out[gr.items[j]], err = g.present(r, gr.items[j]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// open has one group opened. Custodians that refuse what policy permitted here
// decided on the same attributes by the same rules: either their clock has moved
// past an end, or somebody should look.
func (g *Gateway) open(ctx context.Context, k *call, gr *group, receipt chain.Receipt) ([]*fhir.Resource, error) {
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Wait)
	defer cancel()
	resources, err := g.c.Quorum.Open(ctx, gr.opening, receipt)
	if refusal, ok := errors.AsType[*records.RefusedError](err); ok {
		g.log.WarnContext(ctx, "custodians refused", slog.String("request", k.correlation), slog.Uint64("entry", receipt.Index),
			slog.String("reason", string(refusal.Reason)), slog.Any("custodians", refusal.By))
		g.metrics.refused(refusal.Reason)
		return nil, err
	}
	if errors.Is(err, records.ErrBroken) {
		return nil, refuse(integrity, err)
	}
	if err != nil && ctx.Err() != nil {
		return nil, refuse(quorumDown, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open entry %d: %w", receipt.Index, err)
	}
	if len(resources) != len(gr.items) {
		return nil, refuse(internal, fmt.Errorf("open entry %d: %d resources of %d", receipt.Index, len(resources), len(gr.items)))
	}
	return resources, nil
}

// fetch reads the envelopes of candidates from the store and holds each against
// the index: the store may lose what it was given, it may not exchange it.
func (g *Gateway) fetch(ctx context.Context, all []*candidate) (map[*candidate]*records.Envelope, error) {
	out := make(map[*candidate]*records.Envelope, len(all))
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	byType := lo.GroupBy(all, func(c *candidate) string { return c.row.Type })
	for typ, cs := range byType {
		versions := map[string]client.Version{}
		var err error
		if len(cs) == 1 {
			var v client.Version
			if v, err = g.c.Upstream.Read(ctx, typ, cs[0].row.ID); err == nil {
				versions[cs[0].row.ID] = v
			}
		} else {
			versions, err = g.c.Upstream.ReadMany(ctx, typ, lo.Uniq(lo.Map(cs, func(c *candidate, _ int) string { return c.row.ID })))
		}
		if err != nil && !gone(err) {
			return nil, fmt.Errorf("fetch %s: %w", typ, err)
		}
		for _, c := range cs {
			if out[c], err = g.envelope(ctx, c, versions[c.row.ID]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func gone(err error) bool {
	return errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrGone)
}

// envelope takes the envelope out of what the store returned as current, or
// fetches the version that the index names when the store has moved on: between
// the look into the index and the read, another write may have come.
func (g *Gateway) envelope(ctx context.Context, c *candidate, v client.Version) (*records.Envelope, error) {
	if c.row.Upstream == "" {
		return nil, refuse(integrity, fmt.Errorf("store lost %s/%s revision %d", c.row.Type, c.row.ID, c.row.Revision))
	}
	if v.Resource == nil || v.VersionID != c.row.Upstream {
		var err error
		if v, err = g.c.Upstream.VRead(ctx, c.row.Type, c.row.ID, c.row.Upstream); err != nil {
			if gone(err) {
				return nil, refuse(integrity, fmt.Errorf("store lost %s/%s version %s", c.row.Type, c.row.ID, c.row.Upstream))
			}
			return nil, fmt.Errorf("fetch %s/%s: %w", c.row.Type, c.row.ID, err)
		}
	}
	e, err := records.FromSkeleton(v.Resource)
	if err != nil {
		return nil, refuse(integrity, fmt.Errorf("store's %s/%s: %w", c.row.Type, c.row.ID, err))
	}
	if digest := e.Digest(); digest != c.row.Digest || e.Label.Revision != c.row.Revision || e.Label.Compartment != c.row.Patient {
		return nil, refuse(integrity, fmt.Errorf("store's %s/%s is not revision %d as sealed", c.row.Type, c.row.ID, c.row.Revision))
	}
	return e, nil
}

// present makes of an opened record what the client sees: less what the decision
// has redacted, and with the meta that the gateway keeps.
func (g *Gateway) present(r *fhir.Resource, c *candidate) (*fhir.Resource, error) {
	security := securityOf(c.attributes)
	if redact := c.decision.Obligations.Redact; len(redact) > 0 {
		var err error
		if r, err = r.With(func(tree map[string]any) { redactTree(tree, r.Type(), redact) }); err != nil {
			return nil, refuse(internal, err)
		}
		security = append(security, redactedLabel())
	}
	if c.decision.Obligations.NoRedisclose {
		security = append(security, noRedisclosure())
	}
	m := r.Meta()
	m.VersionID, m.LastUpdated = strconv.FormatUint(c.row.Revision, 10), c.row.Updated
	m.Security = mergeCodings(m.Security, security)
	r, err := r.WithMeta(m)
	if err != nil {
		return nil, refuse(internal, err)
	}
	return r, nil
}

// returnedOf are the follow-up entries that say what an answer gave away.
func (g *Gateway) returnedOf(k *call, groups []*group, given func(*candidate) bool) []chain.Entry {
	var out []chain.Entry
	for _, gr := range groups {
		if gr.opening == nil {
			continue
		}
		e := k.entry(chain.Returned)
		e.Patient, e.Action = gr.patient, gr.action
		for _, c := range gr.items {
			if given(c) {
				e.Returned = append(e.Returned, c.ref())
			}
		}
		out = append(out, e)
	}
	return out
}
