package chain

import (
	"context"
	"errors"
	"fmt"
)

// Reader is a log as far as a store held it when it was opened: for looking at a
// log, or proving from it, without being its writer.
type Reader struct {
	*book
	published []byte
}

// OpenReader loads and checks everything in the store, as [Open] does, and
// writes nothing. Whose log it is, it takes from the store.
func OpenReader(ctx context.Context, store Store) (*Reader, error) {
	info, err := store.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("open reader: %w", err)
	}
	if info.IsZero() {
		return nil, errors.New("open reader: the store has no log")
	}
	verifier, err := info.Verifier()
	if err != nil {
		return nil, fmt.Errorf("open reader: %w", err)
	}
	r := &Reader{book: newBook(store, verifier, nil, nil)}
	r.readOnly = true
	// Before the records: beside a live writer it would run ahead of them.
	if r.published, err = store.Published(ctx); err != nil {
		return nil, fmt.Errorf("open reader: %w", err)
	}
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("open reader: %w", err)
	}
	return r, nil
}

// Published is the published checkpoint, with its cosignatures; nil where there
// is none.
func (r *Reader) Published() []byte { return r.published }
