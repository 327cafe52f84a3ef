package gateway

import (
	"context"
	"errors"
	"log/slog"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

// lost is true of a revision that the log knows as written and the store does
// not have: it was rolled back, or lost what it took. Nothing older is served in
// its place.
func lost(row index.Row) bool { return row.Upstream == "" && !row.Deleted }

// lose keeps a write in the index that the log says the store had, and that the
// store has no more. The log is told nothing: the write did happen. Whoever may
// read the record learns that something is wrong with it, until it is written
// again, or the store is mended and the index rebuilt.
//
// Policy decides on what the revision before said about itself. Where there was
// none, it is told type and patient alone.
func (g *Gateway) lose(ctx context.Context, i *intent) error {
	g.log.ErrorContext(ctx, "integrity: the store has lost a write that it had taken; was it rolled back?",
		slog.Uint64("entry", i.entry), slog.String("type", i.row.Type), slog.String("id", i.row.ID), slog.Uint64("revision", i.row.Revision))
	g.metrics.lost.Inc()
	if i.row.Revision == 0 {
		return nil // types in clear have no row; the store's word is all there is
	}
	attributes := policy.Resource{Type: i.row.Type, ID: i.row.ID, Patient: i.row.Patient, Conf: "N"}
	before, err := g.c.Index.Revision(ctx, i.row.Type, i.row.ID, i.row.Revision-1)
	switch {
	case err == nil:
		if attributes, err = g.c.Attributes.Open(before.Attributes, before.Type, before.ID, before.Revision); err != nil {
			return err
		}
	case !errors.Is(err, index.ErrNotFound):
		return err
	}
	attributes.Updated = i.row.Updated.UnixMilli()
	if i.row.Attributes, err = g.c.Attributes.Seal(attributes, i.row.Revision); err != nil {
		return err
	}
	terms, err := g.termsBefore(ctx, i)
	if err != nil {
		return err
	}
	i.row.Upstream, i.row.Deleted = "", false
	return g.c.Index.Put(ctx, i.row, terms...)
}

// termsBefore are the terms by which a record was to be found before a write of
// it was lost, so that a look-up says that something is wrong, and not that
// nobody is there.
func (g *Gateway) termsBefore(ctx context.Context, i *intent) ([]index.Term, error) {
	versions, err := g.c.Upstream.History(ctx, i.row.Type, i.row.ID)
	if err != nil && !gone(err) {
		return nil, err
	}
	for _, v := range versions {
		if v.Deleted || v.Resource == nil {
			continue
		}
		if e, err := records.FromSkeleton(v.Resource); err == nil && e.Label.Revision < i.row.Revision {
			return g.c.IndexKey.OpenTerms(e)
		}
	}
	return nil, nil
}
