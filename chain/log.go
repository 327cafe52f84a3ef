package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
)

// Config says what a [Log] is made of.
type Config struct {
	Store     Store       // where it is kept; required; Close leaves it open
	Signer    note.Signer // signs checkpoints; required
	Origin    string      // first line of every checkpoint; required
	Key       string      // the signer's verifier key (vkey); required
	Cosigners []string    // the custodians' vkeys; nil = those the log began with
	Genesis   Entry       // the first entry; kind [Key] if it has none; its statement is the [Info]

	// Apply is called for every entry in order, in Open and before Append
	// returns, from one goroutine at a time. It must not call the log. An entry
	// whose key is erased is passed over. May be nil.
	Apply func(index uint64, body *Body)

	Now          func() time.Time      // time.Now if nil
	Elapsed      func() time.Duration  // a monotonic clock that Now is held against; the one in what Now returns if nil
	Log          *slog.Logger          // discarded if nil
	Metrics      prometheus.Registerer // none if nil
	Limits       Limits                // defaults where zero
	PublishEvery time.Duration         // least time between two published checkpoints; one second if zero
}

// Limits bound what a [Log] takes.
type Limits struct {
	EntryBytes int // of one entry's body; 256 KiB if zero, at most [MaxBodyBytes]
	CallBytes  int // of the bodies of one Append; 4 MiB if zero
	Queue      int // entries waiting; 65,536 if zero
	BatchBytes int // of the bodies of one batch; 8 MiB if zero, at least CallBytes
}

func (l Limits) withDefaults() (Limits, error) {
	if l.EntryBytes < 0 || l.CallBytes < 0 || l.Queue < 0 || l.BatchBytes < 0 || l.EntryBytes > MaxBodyBytes {
		return l, errors.New("limits out of range")
	}
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&l.EntryBytes, 256<<10)
	set(&l.CallBytes, max(4<<20, l.EntryBytes))
	set(&l.Queue, 1<<16)
	set(&l.BatchBytes, max(8<<20, l.CallBytes))
	if l.BatchBytes < l.CallBytes || l.CallBytes < l.EntryBytes || l.BatchBytes > maxBatchBytes {
		return l, errors.New("limits contradict each other")
	}
	return l, nil
}

// maxBatchBytes is well below what stores must take in one piece, 64 MiB.
const maxBatchBytes = 32 << 20

// Receipt says where an entry is.
type Receipt struct {
	Index uint64
	Time  time.Time // the entry's, UTC, whole milliseconds
	Size  uint64    // of the log after the entry's batch
	Root  [32]byte  // of the tree at that size
}

// Log is a log's one writer. Its methods are safe for concurrent use.
type Log struct {
	*book
	signer  note.Signer
	origin  string
	now     func() time.Time
	clock   steady // owned by who is the sequencer
	limits  Limits
	metrics *metrics

	queueMu sync.Mutex // guards what follows
	ready   *sync.Cond // signalled when there may be something for the sequencer's goroutine
	queue   []*call
	waiting int  // entries in the queue
	busy    bool // somebody is the sequencer: owns the book
	chores  bool // and has left the goroutine to go on as such
	closed  bool

	publisher
	running sync.WaitGroup // the goroutines of sequencer and publisher
	broken  error          // why nothing is taken any more; owned by who is the sequencer
}

// Open loads a log, or begins one with its genesis entry. It reads and checks
// everything that the store has. Of what it finds wrong it returns the place;
// the log must then be restored from a custodian rather than mended.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Store == nil || c.Signer == nil {
		return nil, errors.New("open log: store and signer are required")
	}
	limits, err := c.Limits.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	wanted := Info{Origin: c.Origin, Key: c.Key, Cosigners: c.Cosigners}
	if err := wanted.Validate(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	verifier, err := wanted.Verifier()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if c.Signer.Name() != verifier.Name() || c.Signer.KeyHash() != verifier.KeyHash() {
		return nil, errors.New("open log: signer and key do not belong together")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.PublishEvery <= 0 {
		c.PublishEvery = time.Second
	}
	l := &Log{
		book:   newBook(c.Store, verifier, c.Apply, c.Log),
		signer: c.Signer, origin: c.Origin, now: c.Now, limits: limits,
		clock: steady{elapsed: c.Elapsed},
	}
	l.ready = sync.NewCond(&l.queueMu)
	if l.metrics, err = newMetrics(c.Metrics, "chain", l.book); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := l.begin(ctx, c, wanted); err != nil {
		l.metrics.unregister()
		return nil, err
	}
	return l, nil
}

// begin loads the store, settles whose log it is and starts the goroutines.
func (l *Log) begin(ctx context.Context, c Config, wanted Info) error {
	if c.Store.Size() == 0 {
		stored, err := c.Store.Info(ctx)
		if err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		if !stored.Equal(wanted) { // a start that got no further, or none yet
			if err := c.Store.SetInfo(ctx, wanted); err != nil {
				return fmt.Errorf("open log: %w", err)
			}
		}
	}
	if err := l.load(ctx); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if c.Cosigners == nil {
		wanted.Cosigners = l.info.Cosigners
	}
	if !l.info.Equal(wanted) {
		return errors.New("open log: the log in the store has another origin, key or cosigners")
	}
	if err := l.publisher.begin(ctx, l.book, c.PublishEvery); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	background := context.WithoutCancel(ctx) // the log outlives the call that opened it
	l.running.Go(func() { l.sequence(background) })
	if l.Size() == 0 {
		genesis := c.Genesis
		if genesis.Kind == "" {
			genesis.Kind = Key
		}
		if genesis.Statement != nil && string(genesis.Statement) != string(wanted.Encode()) || genesis.Patient != "" {
			return errors.Join(errors.New("open log: the genesis entry is the tenant's, and its statement is the log's description"), l.Close())
		}
		genesis.Statement = wanted.Encode()
		if _, err := l.Append(ctx, genesis); err != nil {
			return errors.Join(fmt.Errorf("open log: genesis: %w", err), l.Close())
		}
	}
	if err := l.Publish(ctx); err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), l.Close())
	}
	l.running.Go(func() { l.publisher.run(background) })
	return nil
}

// Close takes no more entries, writes down those that wait, publishes the last
// checkpoint and returns when all that is done. The store stays open.
func (l *Log) Close() error {
	l.queueMu.Lock()
	if l.closed {
		l.queueMu.Unlock()
		return nil
	}
	l.closed = true
	l.ready.Broadcast()
	l.queueMu.Unlock()
	close(l.publisher.stop)
	l.running.Wait()
	l.metrics.unregister()
	if l.Size() == 0 {
		return nil
	}
	if err := l.storeTiles(context.Background()); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	if err := l.Publish(context.Background()); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// Erase overwrites the log keys under which a patient's entries up to one of
// kind [Erase] are: their bodies become unreadable, and the tree stays as it is.
// Entries after that one are under another key, and stay; there must be one, so
// that the patient's numbers go on. [ErrNotErasable] where there is no entry of
// that kind, or none after it.
func (l *Log) Erase(ctx context.Context, patient string) error {
	c := &call{erase: &patient, done: make(chan struct{})}
	if err := l.submit(ctx, c); err != nil {
		return err
	}
	return l.wait(ctx, c)
}
