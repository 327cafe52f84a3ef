package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/records"
)

// commit carries a write out: into the log, then into the store, then into the
// index; r is nil for deletions. It returns without an error only when all
// three hold. When the store did not take the write, a second entry closes the
// first. When that cannot be known, or cannot be written down, the write stays
// open and is read back until it can; its resource takes no other write until
// then. The caller holds the resource's lock.
func (g *Gateway) commit(ctx context.Context, k *call, i *intent, e chain.Entry, r *fhir.Resource) error {
	// From here on a caller who hangs up changes nothing.
	ctx = context.WithoutCancel(ctx)
	g.intents.begin(i, g.c.Chain.Size)
	receipts, err := g.appendFor(ctx, k, e)
	if err != nil {
		g.intents.done(i)
		return err
	}
	i.logged = e
	g.intents.logged(i, receipts[0].Index)
	if !i.permitted(receipts[0].Time) {
		if err := g.close(ctx, i, "no-longer-permitted"); err != nil {
			return err
		}
		k.logged([]chain.Receipt{{Index: i.closed}})
		return refuse(forbidden, nil)
	}
	store, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	v, err := g.upstream(store, i, r)
	switch {
	case err == nil:
		return g.settled(ctx, i, v)
	case certain(err):
		return g.failed(ctx, k, i, err)
	}
	return g.readBackNow(ctx, k, i, err)
}

// upstream is the write itself.
func (g *Gateway) upstream(ctx context.Context, i *intent, r *fhir.Resource) (client.Version, error) {
	switch i.kind {
	case deleteSealed, deletePlain:
		return g.c.Upstream.Delete(ctx, i.row.Type, i.row.ID, i.before)
	default:
		return g.c.Upstream.Put(ctx, r, i.before)
	}
}

// certain is true of errors after which the store surely has not taken the
// write: it said so.
func certain(err error) bool {
	return !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrAnswer) &&
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// settled puts a write that the store has into the index.
func (g *Gateway) settled(ctx context.Context, i *intent, v client.Version) error {
	i.row.Upstream = v.VersionID
	if i.kind == putPlain || i.kind == deletePlain {
		i.row.Updated = v.LastUpdated
		g.intents.done(i)
		return nil
	}
	if err := g.c.Index.Put(ctx, i.row, i.terms...); err != nil {
		g.intents.interrupted(i)
		return refuse(upstreamDown, fmt.Errorf("index write %d: %w", i.entry, err))
	}
	g.intents.done(i)
	return nil
}

// failed closes a write that the store did not take.
func (g *Gateway) failed(ctx context.Context, k *call, i *intent, cause error) error {
	if err := g.close(ctx, i, "refused-by-store"); err != nil {
		return err
	}
	k.logged([]chain.Receipt{{Index: i.closed}})
	// The store's own words are not in the error's text.
	g.log.WarnContext(ctx, "store did not take a write", slog.Uint64("entry", i.entry), failure(cause))
	return cause
}

// close writes the second entry. When the log does not take it the write stays
// open, and is closed later.
func (g *Gateway) close(ctx context.Context, i *intent, reason string) error {
	e := i.logged
	e.Kind, e.Decision, e.Reason, e.Grants = chain.WriteFailed, "", reason, nil
	receipts, err := g.c.Chain.Append(ctx, e)
	if err != nil {
		g.intents.interrupted(i)
		return refuse(logDown, fmt.Errorf("close write %d: %w", i.entry, err))
	}
	i.closed = receipts[0].Index
	g.intents.done(i)
	return nil
}

// readBackNow settles a write whose answer got lost, if the store can be asked
// at once.
func (g *Gateway) readBackNow(ctx context.Context, k *call, i *intent, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	has, err := g.readBack(ctx, i)
	switch {
	case err != nil:
		g.intents.interrupted(i)
		return refuse(upstreamDown, fmt.Errorf("write %d: %w; read back: %w", i.entry, cause, err))
	case has != nil:
		return g.settled(ctx, i, *has)
	}
	return g.failed(ctx, k, i, cause)
}

// readBack looks for a write in the store; nil if it is not there. The history
// is asked rather than the current version, for others may have followed.
func (g *Gateway) readBack(ctx context.Context, i *intent) (*client.Version, error) {
	versions, err := g.c.Upstream.History(ctx, i.row.Type, i.row.ID)
	if errors.Is(err, client.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for n := range versions {
		v := &versions[n]
		switch i.kind {
		case deleteSealed, deletePlain:
			// A deletion leaves no content to compare: the newest version is one, or
			// not; or any, when more was written afterwards.
			if v.Deleted {
				return v, nil
			}
			if !i.passed {
				return nil, nil
			}
		case putSealed:
			if !v.Deleted && isEnvelope(v.Resource, i.row.Digest) {
				return v, nil
			}
		case putPlain:
			if !v.Deleted {
				if digest, err := plainDigest(v.Resource); err == nil && digest == i.row.Digest {
					return v, nil
				}
			}
		}
	}
	return nil, nil
}

func isEnvelope(r *fhir.Resource, digest [32]byte) bool {
	e, err := records.FromSkeleton(r)
	return err == nil && e.Digest() == digest
}
