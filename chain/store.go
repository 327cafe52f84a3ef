package chain

import (
	"context"
	"iter"
)

// Store keeps a log. A [Log] or a [Replica] is its only writer and serialises
// its calls that write, except that SetPublished may come meanwhile; calls that
// read come from anywhere at any time. What a store returns is not modified, and
// what it is given may not be.
//
// A write that returns an error has changed nothing that a later read shows. A
// store that cannot promise so any more refuses every later write until it is
// opened again.
type Store interface {
	// Info returns the log's description; the zero Info before SetInfo.
	Info(ctx context.Context) (Info, error)
	// SetInfo stores the description durably. It is called before the first
	// batch, and again only while there is none.
	SetInfo(ctx context.Context, info Info) error

	// Append stores a batch that begins where the last one ended. It is durable
	// on return.
	Append(ctx context.Context, b Batch) error
	// Batches yields the stored batches in order, beginning with the one that
	// contains index from. It ends after the first error.
	Batches(ctx context.Context, from uint64) iter.Seq2[Batch, error]
	// Size is the number of records stored.
	Size() uint64

	// Keys returns all log keys in order.
	Keys(ctx context.Context) ([]LogKey, error)
	// AppendKeys stores keys after those there are, durably.
	AppendKeys(ctx context.Context, keys []LogKey) error
	// EraseKey overwrites patient and secret of a key in place, durably. Erasing
	// twice is no error.
	EraseKey(ctx context.Context, id KeyID) error

	// SetTile stores a full tile, or entry bundle where level is -1. Tiles are
	// derived from the records: they need not be durable.
	SetTile(ctx context.Context, level int, index uint64, data []byte) error
	// Tile returns what SetTile stored, or nil.
	Tile(ctx context.Context, level int, index uint64) ([]byte, error)

	// SetPublished replaces the published checkpoint, durably.
	SetPublished(ctx context.Context, checkpoint []byte) error
	// Published returns it; nil before the first.
	Published(ctx context.Context) ([]byte, error)

	// Settle is called once, when everything stored has been read and found good,
	// and before the first batch: what an interrupted write left behind may go.
	Settle(ctx context.Context) error
}
