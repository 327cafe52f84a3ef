package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

const (
	settleEvery = 250 * time.Millisecond // how often interrupted writes are looked after
	tellEvery   = time.Second            // how often the log is told, at most, what is settled
)

// actionSettled is the action of the entries that say, in Count, below which
// index every write is settled: closed by an entry of its own, or in the store.
// With it a store that was rolled back is told from one that never took a write,
// even when the index is lost as well.
const actionSettled = "settled"

// settle runs in the background: it reads back what an earlier run left, and
// what this one was interrupted in, tells the log what is settled, and moves the
// index's marker behind that.
func (g *Gateway) settle(ctx context.Context) {
	var told time.Time
	for {
		if !g.intents.settled() {
			if err := g.reconcile(ctx); err != nil && ctx.Err() == nil {
				g.log.WarnContext(ctx, "earlier writes not yet settled", failure(err))
			}
		}
		for _, i := range g.intents.interruptions() {
			g.resume(ctx, i)
		}
		if ctx.Err() != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			g.mark(last)
			cancel()
			return
		}
		if time.Since(told) >= tellEvery && g.mark(ctx) {
			told = time.Now()
		}
		wait(ctx, settleEvery)
	}
}

// mark tells the log, if there is something to tell, that what was written is
// settled, and moves the index's marker: in this order, so that an index never
// starts behind a write of which the log does not say so. It reports whether it
// told the log anything.
func (g *Gateway) mark(ctx context.Context) (told bool) {
	g.metrics.intents.Set(float64(g.intents.count()))
	if !g.intents.settled() {
		return false
	}
	marker := g.intents.marker(g.c.Chain.Size)
	if g.intents.untold(marker) {
		if _, err := g.c.Chain.Append(ctx, chain.Entry{Kind: chain.Admin, Action: actionSettled, Count: marker}); err != nil {
			if ctx.Err() == nil {
				g.log.WarnContext(ctx, "log what is settled", failure(err))
			}
			return false
		}
		g.intents.replayed(0, marker)
		told = true
	}
	if !g.intents.moved(marker) {
		return told
	}
	if err := g.c.Index.SetMarker(ctx, marker); err != nil && ctx.Err() == nil {
		g.log.WarnContext(ctx, "index marker", failure(err))
	}
	return told
}

// resume reads one interrupted write back.
func (g *Gateway) resume(ctx context.Context, i *intent) {
	unlock, err := g.locks.lock(ctx, i.row.Type, i.row.ID)
	if err != nil {
		return
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	if err := g.finish(ctx, i); err != nil {
		g.log.WarnContext(ctx, "interrupted write not yet settled", slog.Uint64("entry", i.entry), failure(err))
		return
	}
	g.log.InfoContext(ctx, "interrupted write settled", slog.Uint64("entry", i.entry), slog.Bool("stored", i.closed == 0))
}

// finish settles a write by what the store says now.
func (g *Gateway) finish(ctx context.Context, i *intent) error {
	has, err := g.readBack(ctx, i)
	if err != nil {
		return err
	}
	if has == nil {
		return g.close(ctx, i, "not-in-store")
	}
	return g.settled(ctx, i, *has)
}

// reconcile goes through the log from the index's marker on. Every write that is
// neither in the index nor closed is looked for in the store: found, it is put
// into the index; not found, it is closed, or, if the log says that the store had
// it, it is lost. With an empty index that is all there ever was, and the index
// is whole again.
func (g *Gateway) reconcile(ctx context.Context) error {
	from, err := g.c.Index.Marker(ctx)
	if err != nil {
		return err
	}
	p, err := g.replay(ctx, from)
	if err != nil {
		return err
	}
	for _, i := range p.left() {
		if err := g.restore(ctx, i); err != nil {
			return fmt.Errorf("entry %d: %w", i.entry, err)
		}
	}
	g.intents.replayed(p.wrote, p.told)
	g.intents.setSettled()
	return nil
}

// writeKey tells writes apart, and joins one with the entry that closed it.
type writeKey struct {
	typ, id     string
	revision    uint64
	digest      string
	correlation string
}

// version is one revision of one resource.
type version struct {
	typ, id  string
	revision uint64
}

// A past is what the log says about writes, from some index on.
type past struct {
	open     map[writeKey]*intent // no entry closed them
	order    []writeKey
	versions map[version]*intent // of those, by what they wrote
	wrote    uint64              // one past the newest write
	told     uint64              // below it, an entry says, every write is settled
}

// replay reads the log from an index on.
func (g *Gateway) replay(ctx context.Context, from uint64) (*past, error) {
	p := &past{open: map[writeKey]*intent{}, versions: map[version]*intent{}}
	for at := from; at < g.c.Chain.Size(); at++ {
		body, err := g.c.Chain.Body(ctx, at)
		if errors.Is(err, chain.ErrErased) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", at, err)
		}
		p.read(at, body, g.intentOf)
	}
	return p, nil
}

// read takes one entry in.
func (p *past) read(at uint64, body *chain.Body, intentOf func(uint64, *chain.Body) *intent) {
	switch body.Kind {
	case chain.Write, chain.WriteFailed:
		if len(body.Resources) != 1 {
			return
		}
		r := body.Resources[0]
		key, wrote := writeKey{r.Type, r.ID, r.Revision, string(r.Digest), body.Correlation}, version{r.Type, r.ID, r.Revision}
		if body.Kind == chain.WriteFailed {
			delete(p.open, key)
			delete(p.versions, wrote)
			return
		}
		p.has(version{r.Type, r.ID, r.Revision - 1}) // nothing follows what is not there
		i := intentOf(at, body)
		p.open[key], p.versions[wrote] = i, i
		p.order, p.wrote = append(p.order, key), at+1
	case chain.Admin:
		if body.Action == actionSettled && body.Count <= at {
			p.told = max(p.told, body.Count)
		}
	default:
		for _, r := range slices.Concat(body.Resources, body.Returned) {
			p.has(version{r.Type, r.ID, r.Revision})
		}
	}
}

// has notes that a revision was there when an entry was written that names it.
func (p *past) has(v version) {
	if i := p.versions[v]; i != nil && v.revision > 0 {
		i.known = true
	}
}

// left are the writes that nothing closed, in order, with what the log says of
// each.
func (p *past) left() []*intent {
	newest := map[fhir.Ref]*intent{}
	var out []*intent
	for _, key := range p.order {
		i, still := p.open[key]
		if !still {
			continue
		}
		i.known = i.known || i.entry < p.told
		if before := newest[i.ref()]; before != nil && before != i {
			before.passed = true
		}
		newest[i.ref()] = i
		out = append(out, i)
	}
	return out
}

// intentOf is a write as the log remembers it.
func (g *Gateway) intentOf(at uint64, body *chain.Body) *intent {
	r := body.Resources[0]
	i := &intent{entry: at, logged: body.Entry, row: index.Row{
		Type: r.Type, ID: r.ID, Revision: r.Revision, Patient: body.Patient, Entry: at, Updated: body.At(),
	}}
	copy(i.row.Digest[:], r.Digest)
	plain := r.Revision == 0 // types in clear have the store's versions
	switch deletion := body.Action == policy.Delete; {
	case deletion && plain:
		i.kind = deletePlain
	case deletion:
		i.kind = deleteSealed
	case plain:
		i.kind = putPlain
	default:
		i.kind = putSealed
	}
	return i
}

// restore settles one write of an earlier run.
func (g *Gateway) restore(ctx context.Context, i *intent) error {
	if i.row.Revision > 0 {
		row, err := g.c.Index.Revision(ctx, i.row.Type, i.row.ID, i.row.Revision)
		if err == nil && row.Entry == i.entry {
			return nil
		}
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	has, err := g.readBack(ctx, i)
	if err != nil {
		return err
	}
	switch {
	case has == nil && i.known:
		return g.lose(ctx, i)
	case has == nil:
		return g.close(ctx, i, "not-in-store")
	}
	if err := g.remember(ctx, i, has); err != nil {
		return err
	}
	return g.settled(ctx, i, *has)
}

// remember fills in what only the envelope, or the row before, can say about a
// write of an earlier run.
func (g *Gateway) remember(ctx context.Context, i *intent, v *client.Version) error {
	switch i.kind {
	case putSealed:
		e, err := records.FromSkeleton(v.Resource)
		if err != nil {
			return err
		}
		i.row.Attributes = e.Attributes
		attributes, err := g.c.Attributes.Open(e.Attributes, i.row.Type, i.row.ID, i.row.Revision)
		if err != nil {
			return err
		}
		i.row.Updated = time.UnixMilli(attributes.Updated).UTC()
		if i.terms, err = g.c.IndexKey.OpenTerms(e); err != nil {
			return err
		}
	case deleteSealed:
		last, err := g.c.Index.Revision(ctx, i.row.Type, i.row.ID, i.row.Revision-1)
		if err != nil {
			return err
		}
		attributes, err := g.c.Attributes.Open(last.Attributes, last.Type, last.ID, last.Revision)
		if err != nil {
			return err
		}
		i.row.Deleted, i.row.Updated = true, i.row.Updated.Truncate(time.Millisecond)
		attributes.Updated = i.row.Updated.UnixMilli()
		if i.row.Attributes, err = g.c.Attributes.Seal(attributes, i.row.Revision); err != nil {
			return err
		}
	}
	return nil
}
