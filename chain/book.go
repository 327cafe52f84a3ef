package chain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

// book is what a [Log] and a [Replica] have in common: the tree, the keys and
// each patient's sequence, as far as they are committed. One goroutine at a
// time changes it; anybody reads.
type book struct {
	store    Store
	verifier note.Verifier
	apply    func(uint64, *Body)
	log      *slog.Logger
	readOnly bool // the store is not written, not even to mend it
	cache    tileCache

	mu         sync.RWMutex // guards what follows; its one writer reads without it
	info       Info
	front      frontier
	tiles      tiler
	keys       []keyState
	places     map[KeyID]int   // where a key stands in keys
	current    map[string]int  // the key of a patient's newest entry
	fresh      map[string]int  // a key of the patient that has no entry yet
	ends       map[uint64]bool // the newest entries under erased keys, as far as nothing is known to go on from them
	last       int64           // time of the newest entry, Unix milliseconds
	checkpoint []byte          // of the newest batch
	recent     []Batch         // the newest batches, in order, for those who follow closely
	recentSize int             // their bytes
	grown      chan struct{}   // closed when the size changes
}

// keyState is a log key and how far its entries have come.
type keyState struct {
	LogKey
	sequence
	older int      // place of the patient's key before this one; -1 if none
	posts postings // indexes of its entries
}

// sequence is the head of a patient's entries under one key. Its numbers go on
// from those under the key before.
type sequence struct {
	seq    uint64 // 0: the key has not been used
	last   uint64 // index of the newest entry
	closed bool   // that entry is an [Erase]: nothing follows under this key
}

// postings is an ascending list of indexes, as the varints of their distances:
// two or three bytes each rather than eight.
type postings struct {
	last uint64
	deltas
}

type deltas []byte

func (p *postings) add(index uint64) {
	p.deltas = binary.AppendUvarint(p.deltas, index-p.last)
	p.last = index
}

func (p *postings) list(out []uint64) []uint64 {
	at := uint64(0)
	for rest := p.deltas; len(rest) > 0; {
		d, n := binary.Uvarint(rest)
		at, rest = at+d, rest[n:]
		out = append(out, at)
	}
	return out
}

// maxRecent is how many bytes of the newest batches stay in memory.
const maxRecent = 8 << 20

func newBook(store Store, verifier note.Verifier, apply func(uint64, *Body), log *slog.Logger) *book {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if apply == nil {
		apply = func(uint64, *Body) {}
	}
	return &book{
		store: store, verifier: verifier, apply: apply, log: log,
		places: make(map[KeyID]int), current: make(map[string]int), fresh: make(map[string]int), ends: make(map[uint64]bool),
		grown: make(chan struct{}),
	}
}

// Size is the number of entries.
func (b *book) Size() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.front.size
}

// Root is the root of the tree over all entries.
func (b *book) Root() [32]byte {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.front.root()
}

// Info is the log's description; the zero Info while the log is empty.
func (b *book) Info() Info {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.info
}

// Checkpoint is the newest checkpoint, as the log signed it; nil while the log
// is empty. It is not to be modified.
func (b *book) Checkpoint() []byte {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.checkpoint
}

// KeyCount is the number of log keys, erased ones included.
func (b *book) KeyCount() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return uint64(len(b.keys))
}

// Keys returns the log keys from a place on, in order.
func (b *book) Keys(from uint64) []LogKey {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if from >= uint64(len(b.keys)) {
		return nil
	}
	out := make([]LogKey, 0, uint64(len(b.keys))-from)
	for i := range b.keys[from:] {
		out = append(out, b.keys[from:][i].LogKey)
	}
	return out
}

// Grown returns a channel that is closed when the size next changes.
func (b *book) Grown() <-chan struct{} {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.grown
}

// ByPatient lists the indexes of a patient's entries in order; those of the
// tenant for "".
func (b *book) ByPatient(patient string) []uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	place, ok := b.current[patient]
	if !ok {
		return nil
	}
	var places []int
	for ; place >= 0; place = b.keys[place].older {
		places = append(places, place)
	}
	var out []uint64
	for i := len(places) - 1; i >= 0; i-- { // the oldest key's entries are the oldest
		out = b.keys[places[i]].posts.list(out)
	}
	return out
}

// Body opens an entry. [ErrBeyond] for an index the log has not reached,
// [ErrErased] where the key is gone.
func (b *book) Body(ctx context.Context, index uint64) (*Body, error) {
	body, _, err := b.Open(ctx, index)
	return body, err
}

// Open opens an entry and returns the encoding that its leaf commits to.
func (b *book) Open(ctx context.Context, index uint64) (*Body, []byte, error) {
	record, err := b.record(ctx, index)
	if err != nil {
		return nil, nil, err
	}
	b.mu.RLock()
	place, ok := b.places[record.Key]
	var key LogKey
	if ok {
		key = b.keys[place].LogKey
	}
	b.mu.RUnlock()
	if !ok {
		return nil, nil, &RecordError{Index: index, Reason: "log key unknown"}
	}
	body, encoded, err := key.Unseal(index, record)
	if err != nil {
		return nil, nil, &RecordError{Index: index, Reason: "open body", Err: err}
	}
	return body, encoded, nil
}

func (b *book) record(ctx context.Context, index uint64) (Record, error) {
	batch, err := b.Batch(ctx, index, 1)
	if err != nil {
		return Record{}, err
	}
	if len(batch.Records) == 0 {
		return Record{}, ErrBeyond
	}
	return batch.Records[0], nil
}

// defaultBatchBytes is how much Batch returns when it is not told.
const defaultBatchBytes = 4 << 20

// Batch returns the records from an index to the end of some signed batch: what
// a replica of that size needs next. It goes on over further batches while they
// fit into maxBytes (4 MiB if zero) and returns at least one. At the end of the
// log it has no records and the newest checkpoint; beyond it is [ErrBeyond].
// What it returns is not to be modified.
func (b *book) Batch(ctx context.Context, from uint64, maxBytes int) (Batch, error) {
	if maxBytes <= 0 {
		maxBytes = defaultBatchBytes
	}
	b.mu.RLock()
	size, checkpoint, recent := b.front.size, b.checkpoint, b.recent
	b.mu.RUnlock()
	if from > size || size == 0 {
		return Batch{}, ErrBeyond
	}
	out := Batch{First: from, Checkpoint: checkpoint}
	if from == size {
		return out, nil
	}
	total := 0
	take := func(next Batch) (more bool) {
		n := next.bytes()
		if total > 0 && total+n > maxBytes || next.End() > size { // not visible yet
			return false
		}
		skip := out.End() - next.First
		out.Records = append(out.Records, next.Records[skip:]...)
		out.Checkpoint = next.Checkpoint
		total += n
		return true
	}
	if len(recent) > 0 && from >= recent[0].First {
		at := sort.Search(len(recent), func(i int) bool { return recent[i].End() > from })
		for _, next := range recent[at:] {
			if !take(next) {
				break
			}
		}
		return out, nil
	}
	for next, err := range b.store.Batches(ctx, from) {
		if err != nil {
			return Batch{}, fmt.Errorf("read batch at %d: %w", from, err)
		}
		if next.First > out.End() || next.End() <= from {
			return Batch{}, fmt.Errorf("read batch at %d: the store is out of order", from)
		}
		if !take(next) {
			break
		}
	}
	if len(out.Records) == 0 {
		return Batch{}, fmt.Errorf("read batch at %d: not in the store", from)
	}
	return out, nil
}

// Compare judges a checkpoint of this log that somebody else holds. It returns
// nil when that history is part of ours, a [*RollbackError] when it is longer,
// and a [*ForkError] when it is another one.
func (b *book) Compare(ctx context.Context, checkpoint []byte) error {
	theirs, _, err := OpenCheckpoint(checkpoint, b.verifier)
	if err != nil {
		return err
	}
	size, ours := b.Size(), b.Checkpoint()
	if origin := b.Info().Origin; origin != "" && theirs.Origin != origin {
		return fmt.Errorf("checkpoint is of %q", theirs.Origin)
	}
	if theirs.Size > size {
		return &RollbackError{Have: size, Seen: theirs.Size, Ours: ours, Theirs: checkpoint}
	}
	root, err := b.RootAt(ctx, theirs.Size)
	if err != nil {
		return err
	}
	if root != theirs.Root {
		return &ForkError{Size: theirs.Size, Ours: ours, Theirs: checkpoint}
	}
	return nil
}

// erase overwrites the keys of a patient under which an [Erase] entry is the
// last; not the one that the patient has been given since. There must be one: an
// erased key does not say whose it was, and the patient's numbers would begin
// again.
func (b *book) erase(ctx context.Context, patient string) error {
	place, ok := b.current[patient]
	if !ok {
		return fmt.Errorf("erase: %w", ErrBeyond)
	}
	if b.keys[place].closed {
		return fmt.Errorf("%w that another entry about the patient follows", ErrNotErasable)
	}
	erased := false
	for ; place >= 0; place = b.keys[place].older {
		k := &b.keys[place]
		if !k.closed || k.Erased() {
			continue
		}
		if err := b.store.EraseKey(ctx, k.ID); err != nil {
			return fmt.Errorf("erase key: %w: %w", ErrUnavailable, err)
		}
		erased = true
		b.mu.Lock()
		*k = keyState{LogKey: LogKey{ID: k.ID}, sequence: k.sequence, older: k.older}
		b.mu.Unlock()
	}
	if !erased {
		return ErrNotErasable
	}
	return nil
}

// addKeys takes over keys that are durable.
func (b *book) addKeys(keys []LogKey) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		if _, ok := b.places[k.ID]; ok {
			return errors.New("log key listed twice")
		}
		b.places[k.ID] = len(b.keys)
		b.keys = append(b.keys, keyState{LogKey: k, older: -1})
		if !k.Erased() {
			b.fresh[k.Patient] = len(b.keys) - 1
		}
	}
	return nil
}

// commit applies a batch that the store has, and then lets everybody see it. The
// bodies of records whose keys are erased are nil.
func (b *book) commit(d *draft, batch Batch, bodies []*Body) {
	for i, body := range bodies {
		if body != nil {
			b.apply(batch.First+uint64(i), body)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for place, seq := range d.sequences {
		b.keys[place].sequence = seq
	}
	for i, r := range batch.Records {
		b.tiles.push(r.Leaf, d.hashes[i])
		if bodies[i] == nil {
			continue
		}
		place := b.places[r.Key]
		k := &b.keys[place]
		if len(bodies[i].Key) > 0 { // the first under its key
			if older, ok := b.current[k.Patient]; ok {
				k.older = older
			}
			b.current[k.Patient] = place
			delete(b.fresh, k.Patient)
		}
		k.posts.add(batch.First + uint64(i))
	}
	b.front, b.last, b.checkpoint = d.front, d.last, batch.Checkpoint
	close(b.grown)
	b.grown = make(chan struct{})
}

// remember keeps a batch for those who follow closely. It must come before
// commit lets anybody ask for it.
func (b *book) remember(batch Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recentSize += batch.bytes()
	recent := append(b.recent, batch)
	for len(recent) > 1 && b.recentSize > maxRecent {
		b.recentSize -= recent[0].bytes()
		recent = recent[1:]
	}
	b.recent = recent
}
