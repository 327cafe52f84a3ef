package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
)

// history answers the history of one resource: the versions the caller may see,
// newest first, each decided by itself. Where none may be seen, the history is
// as absent as the resource.
func (g *Gateway) history(ctx context.Context, k *call) (answer, error) {
	if err := only(k.query, "_count", paramPage); err != nil {
		return answer{}, err
	}
	mode, served := g.c.Modes[k.typ]
	if !served {
		return answer{}, refuse(notServed, nil)
	}
	if mode == Observe {
		return g.observeHistory(ctx, k)
	}
	count, err := g.count(k.query)
	if err != nil {
		return answer{}, err
	}
	before, err := g.historyPosition(k)
	if err != nil {
		return answer{}, err
	}
	rows, err := g.c.Index.Revisions(ctx, k.typ, k.id)
	if err != nil {
		return answer{}, refuse(upstreamDown, fmt.Errorf("index: %w", err))
	}
	var visible, denied []*candidate
	for _, row := range rows {
		if before > 0 && row.Revision >= before {
			continue
		}
		c, err := g.candidateOf(row)
		if err != nil {
			return answer{}, err
		}
		if g.decide(ctx, k, k.action(), c); c.decision.Permit {
			visible = append(visible, c)
		} else {
			denied = append(denied, c)
		}
	}
	if len(visible) == 0 {
		c := absent(k.typ, k.id)
		if len(denied) > 0 {
			c = denied[0]
		} else {
			g.decide(ctx, k, k.action(), c)
		}
		return answer{}, g.deny(ctx, k, c)
	}
	page, more := visible, false
	if len(page) > count {
		page, more = page[:count], true
	}
	return g.historyPage(ctx, k, page, len(denied), more)
}

// historyPage opens a page of versions and makes the bundle. Deletions are in
// it, and in the log, without anything to open.
func (g *Gateway) historyPage(ctx context.Context, k *call, page []*candidate, denied int, more bool) (answer, error) {
	gr := &group{patient: page[0].row.Patient, action: k.action(), denied: uint64(denied), reason: page[0].decision.Reason, policy: page[0].decision.Policy}
	gr.items = lo.Reject(page, func(c *candidate, _ int) bool { return c.row.Deleted })
	if len(gr.items) == 0 {
		gr.denied = 0 // a page of deletions is an answer, with nothing to open
	}
	groups := byReason([]*group{gr})
	opened, err := g.disclose(ctx, k, groups, false)
	if err != nil {
		return answer{}, err
	}
	b := fhir.Bundle{Type: "history", Timestamp: k.now}
	for _, c := range page {
		b.Entries = append(b.Entries, g.historyEntry(c, opened[c]))
	}
	self := g.link(k.typ+"/"+k.id+"/_history", k.query)
	b.Links = append(b.Links, fhir.Link{Relation: "self", URL: self})
	if more {
		last := page[len(page)-1].row.Revision
		next, err := g.nextLink(k, k.typ+"/"+k.id+"/_history", position{Revision: last})
		if err != nil {
			return answer{}, err
		}
		b.Links = append(b.Links, fhir.Link{Relation: "next", URL: next})
	}
	resource, err := b.Resource()
	if err != nil {
		return answer{}, refuse(internal, err)
	}
	return answer{
		status: http.StatusOK, resource: resource,
		returned: g.returnedOf(k, groups, func(*candidate) bool { return true }),
	}, nil
}

// historyEntry is one version: what was asked of the server when it came about,
// and what the server said.
func (g *Gateway) historyEntry(c *candidate, r *fhir.Resource) fhir.BundleEntry {
	ref := c.row.Type + "/" + c.row.ID
	e := fhir.BundleEntry{
		FullURL: g.c.Base + "/" + ref, Resource: r,
		Request:  &fhir.BundleRequest{Method: http.MethodPut, URL: ref},
		Response: &fhir.BundleResponse{Status: "200 OK", ETag: etag(strconv.FormatUint(c.row.Revision, 10)), LastModified: c.row.Updated},
	}
	switch {
	case c.row.Deleted:
		e.Request.Method, e.Response.Status = http.MethodDelete, "204 No Content"
	case c.row.Revision == 1:
		e.Response.Status = "201 Created"
	}
	return e
}

// unsupportedHistory refuses the history of a type or of everything: it would be
// an answer about all patients at once.
func (g *Gateway) unsupportedHistory(context.Context, *call) (answer, error) {
	return answer{}, refuseFor(wide, "")
}

// historyPosition is the revision a page begins below; 0 at the first page.
func (g *Gateway) historyPosition(k *call) (uint64, error) {
	p, err := g.page(k)
	if err != nil || p == nil {
		return 0, err
	}
	return p.Revision, nil
}

func (g *Gateway) observeHistory(ctx context.Context, k *call) (answer, error) {
	if err := g.observed(ctx, k, []chain.Resource{{Type: k.typ, ID: k.id}}); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	versions, err := g.c.Upstream.History(ctx, k.typ, k.id)
	if gone(err) {
		return answer{}, refuse(hidden, nil)
	}
	if err != nil {
		return answer{}, err
	}
	b := fhir.Bundle{Type: "history", Timestamp: k.now, Links: []fhir.Link{{Relation: "self", URL: g.link(k.typ+"/"+k.id+"/_history", k.query)}}}
	ref := k.typ + "/" + k.id
	for i, v := range versions {
		e := fhir.BundleEntry{
			FullURL: g.c.Base + "/" + ref, Resource: v.Resource,
			Request:  &fhir.BundleRequest{Method: http.MethodPut, URL: ref},
			Response: &fhir.BundleResponse{Status: "200 OK", ETag: etag(v.VersionID), LastModified: v.LastUpdated.Truncate(time.Millisecond)},
		}
		switch {
		case v.Deleted:
			e.Request.Method, e.Response.Status = http.MethodDelete, "204 No Content"
		case i == len(versions)-1:
			e.Response.Status = "201 Created"
		}
		b.Entries = append(b.Entries, e)
	}
	resource, err := b.Resource()
	if err != nil {
		return answer{}, refuse(internal, err)
	}
	return answer{status: http.StatusOK, resource: resource}, nil
}
