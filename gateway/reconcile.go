package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

// settleEvery is how often interrupted writes are looked after.
const settleEvery = 250 * time.Millisecond

// settle runs in the background: it reads back what an earlier run left, and
// what this one was interrupted in, and moves the index's marker behind them.
func (g *Gateway) settle(ctx context.Context) {
	for {
		if !g.intents.settled() {
			if err := g.reconcile(ctx); err != nil && ctx.Err() == nil {
				g.log.WarnContext(ctx, "earlier writes not yet settled", slog.Any("error", err))
			}
		}
		for _, i := range g.intents.interruptions() {
			g.resume(ctx, i)
		}
		g.mark(ctx)
		if ctx.Err() != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			g.mark(last)
			cancel()
			return
		}
		wait(ctx, settleEvery)
	}
}

// mark moves the marker, if all that an earlier run left is settled.
func (g *Gateway) mark(ctx context.Context) {
	g.metrics.intents.Set(float64(g.intents.count()))
	if !g.intents.settled() {
		return
	}
	marker := g.intents.marker(g.c.Chain.Size)
	if !g.intents.moved(marker) {
		return
	}
	if err := g.c.Index.SetMarker(ctx, marker); err != nil && ctx.Err() == nil {
		g.log.WarnContext(ctx, "index marker", slog.Any("error", err))
	}
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
		g.log.WarnContext(ctx, "interrupted write not yet settled", slog.Uint64("entry", i.entry), slog.Any("error", err))
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
// into the index; not found, it is closed. With an empty index that is all there
// ever was, and the index is whole again.
func (g *Gateway) reconcile(ctx context.Context) error {
	from, err := g.c.Index.Marker(ctx)
	if err != nil {
		return err
	}
	open, order, err := g.openWrites(ctx, from)
	if err != nil {
		return err
	}
	for _, key := range order {
		i, still := open[key]
		if !still {
			continue
		}
		if err := g.restore(ctx, i); err != nil {
			return fmt.Errorf("entry %d: %w", i.entry, err)
		}
	}
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

// openWrites lists the writes from an index on that no entry closed, in order.
func (g *Gateway) openWrites(ctx context.Context, from uint64) (map[writeKey]*intent, []writeKey, error) {
	open := map[writeKey]*intent{}
	var order []writeKey
	for at := from; at < g.c.Chain.Size(); at++ {
		body, err := g.c.Chain.Body(ctx, at)
		if errors.Is(err, chain.ErrErased) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("entry %d: %w", at, err)
		}
		if (body.Kind != chain.Write && body.Kind != chain.WriteFailed) || len(body.Resources) != 1 {
			continue
		}
		r := body.Resources[0]
		key := writeKey{r.Type, r.ID, r.Revision, string(r.Digest), body.Correlation}
		if body.Kind == chain.WriteFailed {
			delete(open, key)
			continue
		}
		open[key] = g.intentOf(at, body)
		order = append(order, key)
	}
	return open, order, nil
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
	if has == nil {
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
