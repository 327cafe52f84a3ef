package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/index"
)

// read answers read and vread. From top to bottom: what the index knows, what
// policy says, what the log holds, what the custodians open.
func (g *Gateway) read(ctx context.Context, k *call) (answer, error) {
	if err := only(k.query); err != nil {
		return answer{}, err
	}
	switch mode, served := g.c.Modes[k.typ]; {
	case !served:
		return answer{}, refuse(notServed, nil)
	case mode == Observe:
		return g.observeRead(ctx, k)
	}
	c, err := g.find(ctx, k)
	if err != nil {
		return answer{}, err
	}
	if g.decide(ctx, k, k.action(), c); !c.decision.Permit {
		return answer{}, g.deny(ctx, k, c)
	}
	if c.row.Deleted {
		return answer{}, g.tellDeleted(ctx, k, c)
	}
	gr := &group{patient: c.row.Patient, action: k.action(), items: []*candidate{c}}
	opened, err := g.disclose(ctx, k, []*group{gr}, false)
	if err != nil {
		return answer{}, err
	}
	return answer{
		status: http.StatusOK, resource: opened[c], revision: strconv.FormatUint(c.row.Revision, 10), modified: c.row.Updated,
		returned: g.returnedOf(k, []*group{gr}, func(*candidate) bool { return true }),
	}, nil
}

// current is the newest row of a resource; false if there is none.
func (g *Gateway) current(ctx context.Context, typ, id string) (index.Row, bool, error) {
	row, err := g.c.Index.Current(ctx, typ, id)
	switch {
	case errors.Is(err, index.ErrNotFound):
		return index.Row{}, false, nil
	case err != nil:
		return index.Row{}, false, refuse(upstreamDown, fmt.Errorf("index: %w", err))
	}
	return row, true, nil
}

// find looks up the revision that a read or vread means. What is not there is a
// candidate too.
func (g *Gateway) find(ctx context.Context, k *call) (*candidate, error) {
	var row index.Row
	var err error
	if k.interaction == interactionVRead {
		revision, numeric := parseRevision(k.revision)
		if !numeric {
			return absent(k.typ, k.id), nil
		}
		row, err = g.c.Index.Revision(ctx, k.typ, k.id, revision)
	} else {
		row, err = g.c.Index.Current(ctx, k.typ, k.id)
	}
	switch {
	case errors.Is(err, index.ErrNotFound):
		return absent(k.typ, k.id), nil
	case err != nil:
		return nil, refuse(upstreamDown, fmt.Errorf("index: %w", err))
	}
	return g.candidateOf(row)
}

// parseRevision reads a version id of ours: a number from 1, in its one
// spelling.
func parseRevision(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, false
	}
	return n, true
}

// tellDeleted logs, and says, that a record is deleted, to somebody who could
// read it.
func (g *Gateway) tellDeleted(ctx context.Context, k *call, c *candidate) error {
	e := k.entry(chain.Access)
	e.Patient, e.Resources = c.row.Patient, []chain.Resource{c.ref()}
	e.Decision, e.Reason, e.Grants, e.Policy = decisionPermit, string(c.decision.Reason), c.decision.Grants, c.decision.Policy[:]
	if err := g.append(ctx, k, e); err != nil {
		return err
	}
	return refuse(deleted, nil)
}

// selfCheck asks the policy about a request that nobody granted. A gateway whose
// policy permits that is not wired to it, and does not start.
func (g *Gateway) selfCheck(ctx context.Context) error {
	nobody := policy.Subject{ID: "Practitioner/wardkey-self-check", Roles: []string{"doctor"}, Client: "wardkey-self-check"}
	for _, action := range []string{policy.Read, policy.Search, policy.History, policy.Create, policy.Update, policy.Delete, policy.Lookup} {
		req := policy.Request{
			Subject: nobody, Action: action, Purpose: "TREAT", Scopes: []string{"user/*.cruds"},
			Resource: policy.Resource{Type: "Observation", ID: "wardkey-self-check", Patient: "Patient/wardkey-self-check", Conf: "N"},
		}
		one := g.c.Engine.Decide(ctx, g.c.State, req, g.now())
		many := g.c.Engine.DecideAll(ctx, g.c.State, req, []policy.Resource{req.Resource, req.Resource}, g.now())
		if one.Permit || len(many) != 2 || many[0].Permit || many[1].Permit {
			return fmt.Errorf("gateway: self-check: the policy permits %s to nobody in particular; not starting", action)
		}
	}
	return nil
}
