package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/samber/lo"
	"golang.org/x/mod/sumdb/note"
)

// ReplicaConfig says what a [Replica] is made of.
type ReplicaConfig struct {
	Store    Store         // where it is kept; required; Close leaves it open
	Verifier note.Verifier // checks the log's signatures; required
	Origin   string        // the log's; the verifier's name if empty

	Now      func() time.Time // the replica's own clock; time.Now if nil
	MaxAhead time.Duration    // how far a batch may end ahead of it; 30 s if zero

	// Accept is asked about every entry that Extend is given, before anything of
	// the batch is kept; an error refuses the batch. Everything that keeps the
	// log's rules is accepted if nil.
	Accept func(index uint64, body *Body) error

	// Apply is called for every entry in order, in OpenReplica and before Extend
	// returns, from one goroutine at a time. It must not call the replica. May be
	// nil.
	Apply func(index uint64, body *Body)

	Log     *slog.Logger          // discarded if nil
	Metrics prometheus.Registerer // none if nil; names begin with chain_replica
}

// Replica is a custodian's copy of a log: the same tree, keys and bodies, each
// checked before it is taken over. Its methods are safe for concurrent use.
type Replica struct {
	*book
	origin    string
	now       func() time.Time
	maxAhead  time.Duration
	accept    func(uint64, *Body) error
	metrics   *metrics
	extending sync.Mutex // one Extend at a time; guards what follows
	closed    bool
	published time.Time // when the newest checkpoint was last put beside the records
}

// OpenReplica loads a replica, or begins an empty one. Like [Open] it reads and
// checks everything in the store.
func OpenReplica(ctx context.Context, c ReplicaConfig) (*Replica, error) {
	if c.Store == nil || c.Verifier == nil {
		return nil, errors.New("open replica: store and verifier are required")
	}
	if c.Origin == "" {
		c.Origin = c.Verifier.Name()
	}
	if c.MaxAhead < 0 {
		return nil, errors.New("open replica: a batch cannot be held to end in the past")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Accept == nil {
		c.Accept = func(uint64, *Body) error { return nil }
	}
	r := &Replica{
		book: newBook(c.Store, c.Verifier, c.Apply, c.Log), origin: c.Origin,
		now: c.Now, maxAhead: cmp.Or(c.MaxAhead, maxAhead), accept: c.Accept,
	}
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("open replica: %w", err)
	}
	if r.Size() > 0 && (r.info.Origin != c.Origin || !sameKey(c.Verifier, r.info.Key)) {
		return nil, errors.New("open replica: the log in the store has another origin or key")
	}
	var err error
	if r.metrics, err = newMetrics(c.Metrics, "chain_replica", r.book); err != nil {
		return nil, fmt.Errorf("open replica: %w", err)
	}
	return r, nil
}

// Close waits for an Extend that is under way and takes no further one. The
// store stays open.
func (r *Replica) Close() error {
	r.extending.Lock()
	defer r.extending.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.metrics.unregister()
	return r.publish(context.Background(), time.Now())
}

// publish puts the newest checkpoint beside the records, as the log does, once a
// second at most: an end that is cut off shows.
func (r *Replica) publish(ctx context.Context, now time.Time) error {
	if r.checkpoint == nil {
		return nil
	}
	r.published = now
	if err := r.store.SetPublished(ctx, r.checkpoint); err != nil {
		return fmt.Errorf("publish checkpoint: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// Extend takes over keys, beginning at place keysFrom of the log's list, and a
// batch. When it returns nil the replica has, durably and applied, everything up
// to the end of the batch, has verified the log's signature on the batch's
// checkpoint and has recomputed its root: the custodian may cosign it.
//
// What the replica has already is passed over, so calls may repeat and overtake
// each other; of a batch that ends before the replica's end, the root at that
// size is compared. [*GapError] when something is missing in between,
// [*ForkError] when the histories differ, [*RecordError] when a record breaks
// the log's rules or is not accepted, [*FutureError] when the batch ends too far
// ahead of the replica's clock, [ErrUnavailable] when the store fails. After an error nothing
// has changed, except that keys may have been added.
func (r *Replica) Extend(ctx context.Context, keys []LogKey, keysFrom uint64, batch Batch) error {
	start := time.Now()
	r.extending.Lock()
	defer r.extending.Unlock()
	if r.closed {
		return fmt.Errorf("extend: %w: %w", ErrUnavailable, ErrClosed)
	}
	offered, _, err := OpenCheckpoint(batch.Checkpoint, r.verifier)
	if err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	if offered.Origin != r.origin {
		return fmt.Errorf("extend: checkpoint is of %q", offered.Origin)
	}
	if offered.Size != batch.End() {
		return fmt.Errorf("extend: %d records from %d under a checkpoint of size %d", len(batch.Records), batch.First, offered.Size)
	}
	have := r.Size()
	if offered.Size <= have {
		if err := r.Compare(ctx, batch.Checkpoint); err != nil {
			return fmt.Errorf("extend: %w", err)
		}
		return nil
	}
	if batch.First > have || keysFrom > r.KeyCount() {
		return &GapError{Have: have, Keys: r.KeyCount(), Ours: r.Checkpoint(), Theirs: batch.Checkpoint}
	}
	batch.Records = batch.Records[have-batch.First:]
	batch.First = have

	d := r.draft()
	if err := r.offer(d, keys, keysFrom, batch.Checkpoint); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	for _, record := range batch.Records {
		d.push(record.Leaf)
	}
	if d.front.root() != offered.Root {
		return fmt.Errorf("extend: %w", &ForkError{Size: offered.Size, Ours: r.Checkpoint(), Theirs: batch.Checkpoint})
	}
	if lo.SomeBy(batch.Records, func(record Record) bool { _, ok := d.place(record.Key); return !ok }) {
		return &GapError{Have: have, Keys: r.KeyCount(), Ours: r.Checkpoint(), Theirs: batch.Checkpoint}
	}
	bodies, err := d.unseal(batch.First, batch.Records, false)
	if err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	for i, body := range bodies {
		if err := d.check(batch.First+uint64(i), batch.Records[i].Key, body); err != nil {
			return fmt.Errorf("extend: %w", err)
		}
	}
	if err := r.admit(batch.First, bodies); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	if err := r.persist(ctx, d, batch, bodies); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	r.remember(batch)
	r.commit(d, batch, bodies)
	r.metrics.batch(len(batch.Records), time.Since(start))
	// What follows is derived: the batch is taken over whether or not it succeeds.
	if len(r.tiles.full) > 0 {
		if err := r.storeTiles(ctx); err != nil {
			r.log.ErrorContext(ctx, "tiles", "error", err)
		}
	}
	if now := time.Now(); now.Sub(r.published) >= time.Second {
		if err := r.publish(ctx, now); err != nil {
			r.log.ErrorContext(ctx, "publish", "error", err)
		}
	}
	return nil
}

// maxAhead is how far ahead of a replica's clock a batch may end if nothing is
// configured, and how far the log's wall clock may get ahead of its monotonic one.
const maxAhead = 30 * time.Second

// admit holds bodies that keep the log's rules against the replica's own: none
// from the future, and none that it does not accept.
func (r *Replica) admit(first uint64, bodies []*Body) error {
	last := len(bodies) - 1 // the latest: times never decrease
	if now := r.now(); bodies[last].At().Sub(now) > r.maxAhead {
		return &FutureError{Index: first + uint64(last), Time: bodies[last].At(), Now: now}
	}
	for i, body := range bodies {
		if err := r.accept(first+uint64(i), body); err != nil {
			return &RecordError{Index: first + uint64(i), Reason: "not accepted", Err: err}
		}
	}
	return nil
}

// offer adds the keys that the replica does not have to the draft, and compares
// the others. A key that is erased here or there is compared by its id.
func (r *Replica) offer(d *draft, keys []LogKey, from uint64, theirs []byte) error {
	have := uint64(len(r.keys))
	for i, k := range keys {
		at := from + uint64(i)
		if at >= have {
			if _, ok := d.place(k.ID); ok || len(k.Patient) > MaxPatientBytes {
				return errors.New("log key listed twice, or malformed")
			}
			d.addKey(k)
			continue
		}
		ours := r.keys[at].LogKey
		same := ours.ID == k.ID
		if !ours.Erased() && !k.Erased() {
			same = same && ours.Patient == k.Patient && ours.Key.Equal(k.Key)
		}
		if !same {
			return fmt.Errorf("log key %d: %w", at, &ForkError{Size: r.front.size, Ours: r.checkpoint, Theirs: theirs})
		}
	}
	return nil
}

// persist makes keys and records durable, in that order, and before them whose
// log this is, when the replica is empty.
func (r *Replica) persist(ctx context.Context, d *draft, batch Batch, bodies []*Body) error {
	if batch.First == 0 {
		info, err := ParseInfo(bodies[0].Statement)
		if err != nil {
			return &RecordError{Index: 0, Reason: "genesis", Err: err}
		}
		if err := checkGenesis(info, bodies[0]); err != nil {
			return err
		}
		if info.Origin != r.origin || !sameKey(r.verifier, info.Key) {
			return &RecordError{Index: 0, Reason: "genesis entry is of another log"}
		}
		if err := r.store.SetInfo(ctx, info); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		r.mu.Lock()
		r.info = info
		r.mu.Unlock()
	}
	if len(d.added) > 0 {
		if err := r.store.AppendKeys(ctx, d.added); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if err := r.addKeys(d.added); err != nil {
			return err
		}
		d.added = nil
	}
	if err := r.store.Append(ctx, batch); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Erase does what [Log.Erase] does.
func (r *Replica) Erase(ctx context.Context, patient string) error {
	r.extending.Lock()
	defer r.extending.Unlock()
	if r.closed {
		return fmt.Errorf("erase: %w: %w", ErrUnavailable, ErrClosed)
	}
	return r.erase(ctx, patient)
}
