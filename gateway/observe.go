package gateway

import (
	"context"
	"crypto/sha256"
	"net/http"
	"slices"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
)

// reasonObserved is the reason in the entries of types that are in clear: nobody
// decided, but for the scope.
const reasonObserved = "observed"

// observed logs an access to what is in clear. Like every other it comes before
// the answer, and without it there is none.
func (g *Gateway) observed(ctx context.Context, k *call, resources []chain.Resource) error {
	e := k.entry(chain.Access)
	digest := g.c.Engine.Digest()
	e.Decision, e.Reason, e.Policy, e.Resources = decisionPermit, reasonObserved, digest[:], resources
	return g.append(ctx, k, e)
}

// observeRead answers read and vread of a type that is in clear: from the store,
// under the store's versions, with no custodian asked.
func (g *Gateway) observeRead(ctx context.Context, k *call) (answer, error) {
	if err := g.observed(ctx, k, []chain.Resource{{Type: k.typ, ID: k.id}}); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	var v client.Version
	var err error
	if k.interaction == interactionVRead {
		if !fhir.ValidID(k.revision) {
			return answer{}, refuse(hidden, nil)
		}
		v, err = g.c.Upstream.VRead(ctx, k.typ, k.id, k.revision)
	} else {
		v, err = g.c.Upstream.Read(ctx, k.typ, k.id)
	}
	switch {
	case err != nil && gone(err):
		return answer{}, refuse(hidden, nil)
	case err != nil:
		return answer{}, err
	}
	return answer{status: http.StatusOK, resource: v.Resource, revision: v.VersionID, modified: v.LastUpdated}, nil
}

// observeSearch forwards what [fhir.ParseQuery] understood, rebuilt from that: a
// parameter that was not understood is not there to be read differently by the
// store. What comes back is taken only so far as it is of the type asked for.
func (g *Gateway) observeSearch(ctx context.Context, k *call) (answer, error) {
	count, err := g.count(k.query)
	if err != nil {
		return answer{}, err
	}
	after, err := g.page(k)
	if err != nil {
		return answer{}, err
	}
	query, err := fhir.ParseQuery(k.typ, k.query, fhir.QueryOptions{Base: g.c.Base, Now: k.now, Ignore: []string{"_count", paramPage}})
	if err != nil {
		return answer{}, err
	}
	query.Count = count
	if err := g.observed(ctx, k, []chain.Resource{{Type: k.typ}}); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	var found fhir.Bundle
	if after == nil {
		found, err = g.c.Upstream.Search(ctx, k.typ, query.Values())
	} else {
		found, _, err = g.c.Upstream.NextPage(ctx, fhir.Bundle{Type: "searchset", Links: []fhir.Link{{Relation: "next", URL: after.Upstream}}})
	}
	if err != nil {
		return answer{}, err
	}
	return g.observedSet(k, found, after == nil)
}

func (g *Gateway) observedSet(k *call, found fhir.Bundle, first bool) (answer, error) {
	b := fhir.Bundle{Type: "searchset", Timestamp: k.now, Links: []fhir.Link{{Relation: "self", URL: g.link(k.typ, k.query)}}}
	for _, e := range found.Entries {
		if e.Resource == nil || e.Resource.Type() != k.typ {
			continue
		}
		b.Entries = append(b.Entries, fhir.BundleEntry{
			FullURL: g.c.Base + "/" + e.Resource.Ref().String(), Resource: e.Resource, SearchMode: "match",
		})
	}
	if next, more := lo.Find(found.Links, func(l fhir.Link) bool { return l.Relation == "next" }); more {
		link, err := g.nextLink(k, k.typ, position{Upstream: next.URL})
		if err != nil {
			return answer{}, err
		}
		b.Links = append(b.Links, fhir.Link{Relation: "next", URL: link})
	} else if first {
		b.Total = new(len(b.Entries))
	}
	b.Entries = append(b.Entries, noticeEntry())
	resource, err := b.Resource()
	if err != nil {
		return answer{}, refuse(internal, err)
	}
	return answer{status: http.StatusOK, resource: resource}, nil
}

// plainDigest is what the log knows a resource in clear by: its content without
// the meta that the store keeps, so that read-back compares like with like.
func plainDigest(r *fhir.Resource) ([32]byte, error) {
	bare, err := r.WithoutMeta()
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(slices.Concat([]byte("wardkey-plain-v1\x00"), bare.Canonical())), nil
}
