package gateway

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/records/index"
)

// An intent is a write that is, or is about to be, in the log, and of which it
// is not yet settled whether the store has it.
type intent struct {
	floor  uint64      // the log was no longer than this when the write began
	entry  uint64      // of the write, once it is in the log
	known  bool        // of an earlier run: the log says that the store had it
	passed bool        // of an earlier run: another write of the resource followed
	closed uint64      // of the entry that closed it; 0 for none
	logged chain.Entry // as it is in the log
	kind   writeKind
	before string    // the store's version that is to be replaced; "" for none
	row    index.Row // what the index is to hold
	terms  []index.Term

	permitted func(at time.Time) bool // asked once more, once the write is in the log
}

// writeKind is what a write does to the store.
type writeKind int

const (
	putSealed writeKind = iota
	deleteSealed
	putPlain
	deletePlain
)

// intents are the writes under way, and those that were interrupted. The index's
// marker may move up to the oldest of them and no further.
type intents struct {
	mu       sync.Mutex // guards all below
	open     map[*intent]struct{}
	stuck    map[fhir.Ref]*intent // by resource: interrupted, to be read back
	complete bool                 // what an earlier run left has been read back
	marked   uint64               // where the index's marker was moved to last
	wrote    uint64               // one past the newest write in the log
	told     uint64               // the log says that every write below is settled
}

func newIntents() *intents {
	return &intents{open: map[*intent]struct{}{}, stuck: map[fhir.Ref]*intent{}}
}

// begin registers a write before it goes into the log.
func (t *intents) begin(i *intent, size func() uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i.floor = size()
	t.open[i] = struct{}{}
}

// logged notes that a write is in the log.
func (t *intents) logged(i *intent, index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i.entry, i.row.Entry = index, index
	t.wrote = max(t.wrote, index+1)
}

// replayed notes what an earlier run left in the log: up to where there are
// writes, and up to where it says that they are settled.
func (t *intents) replayed(wrote, told uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrote, t.told = max(t.wrote, wrote), max(t.told, told)
}

// untold is true when there are settled writes below the marker of which the log
// does not yet say so.
func (t *intents) untold(marker uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told < min(marker, t.wrote)
}

// done forgets a write that is settled: in the index, or closed in the log, or
// never in the log at all.
func (t *intents) done(i *intent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, i)
	if ref := i.ref(); t.stuck[ref] == i {
		delete(t.stuck, ref)
	}
}

// interrupted leaves a write to be read back. Until then its resource takes no
// other write.
func (t *intents) interrupted(i *intent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stuck[i.ref()] = i
}

// isStuck tells whether a resource has a write that is not settled.
func (t *intents) isStuck(typ, id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, stuck := t.stuck[fhir.Ref{Type: typ, ID: id}]
	return stuck
}

// interruptions are the writes to be read back.
func (t *intents) interruptions() []*intent {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*intent, 0, len(t.stuck))
	for _, i := range t.stuck {
		out = append(out, i)
	}
	return out
}

// settled tells whether an earlier run's writes have been read back.
func (t *intents) settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.complete
}

func (t *intents) setSettled() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.complete = true
}

// marker is the index up to which every write is settled: that of the oldest
// one under way, or the whole log. The size is read under the same lock that
// new writes take before they append.
func (t *intents) marker(size func() uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	low := size()
	for i := range t.open {
		low = min(low, i.floor)
	}
	return low
}

// moved notes where the marker goes; false if it is there already.
func (t *intents) moved(to uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if to == t.marked {
		return false
	}
	t.marked = to
	return true
}

// count is how many writes are not settled.
func (t *intents) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

func (i *intent) ref() fhir.Ref { return fhir.Ref{Type: i.row.Type, ID: i.row.ID} }

// stripes are locks by resource: two writes of one resource take turns, those of
// two mostly do not. Each is a channel with one place, so that whoever waits can
// give up.
type stripes struct {
	seed  maphash.Seed
	locks [256]chan struct{}
}

func newStripes() *stripes {
	s := &stripes{seed: maphash.MakeSeed()}
	for i := range s.locks {
		s.locks[i] = make(chan struct{}, 1)
	}
	return s
}

// lock takes the resource's lock and returns how to give it back; the error is
// the context's.
func (s *stripes) lock(ctx context.Context, typ, id string) (unlock func(), err error) {
	l := s.locks[maphash.String(s.seed, typ+"/"+id)%uint64(len(s.locks))]
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
