package chain

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/samber/lo"
)

// call is one Append, or one Erase, on its way through the sequencer.
type call struct {
	entries []Entry
	salts   [][]byte
	bytes   int     // of the bodies, at most
	erase   *string // the patient, where this is an Erase

	taken    bool // guarded by Log.queueMu: too late to withdraw it
	done     chan struct{}
	receipts []Receipt // after done
	err      error     // after done
}

// Append enters entries, one after another and in one batch. When it returns,
// they are on stable storage under a signed checkpoint, and applied; a receipt
// each says where. An error wraps [ErrInvalid] or [ErrTooLarge] where an entry
// is at fault, [ErrUnavailable] where the log is; in any case nothing of the
// call is visible. Where ctx ends while the call still waits for its turn it is
// withdrawn; afterwards the outcome is waited for, since it is at hand.
//
// The entries are shared with Apply and must not be modified afterwards.
func (l *Log) Append(ctx context.Context, entries ...Entry) ([]Receipt, error) {
	start := time.Now()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if len(entries) == 0 {
		return nil, nil
	}
	c := &call{entries: entries, salts: make([][]byte, len(entries)), done: make(chan struct{})}
	for i := range entries {
		c.salts[i] = newSalt()
		n, err := l.admit(&entries[i], c.salts[i])
		if err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
		if c.bytes += n; c.bytes > l.limits.CallBytes {
			return nil, fmt.Errorf("append: %w: more than %d bytes in one call", ErrTooLarge, l.limits.CallBytes)
		}
	}
	if err := l.submit(ctx, c); err != nil {
		return nil, err
	}
	err := l.wait(ctx, c)
	l.metrics.appended(len(entries), time.Since(start), err)
	if err != nil {
		return nil, err
	}
	return c.receipts, nil
}

// admit checks an entry and returns the most that its body can take.
func (l *Log) admit(e *Entry, salt []byte) (int, error) {
	if err := e.Validate(); err != nil {
		return 0, err
	}
	n := e.atMost()
	if n > l.limits.EntryBytes { // then it is worth counting
		largest := Body{
			Salt: salt, Time: math.MaxInt64, Seq: math.MaxUint64, Prev: math.MaxUint64,
			Key: salt, Entry: *e, // a commitment is as long as a salt
		}
		n = len(largest.Encode())
	}
	if n > l.limits.EntryBytes {
		return 0, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, n, l.limits.EntryBytes)
	}
	return n, nil
}

// submit hands a call to the sequencer, or is the sequencer for this one call
// where nobody else is: two changes of goroutine are a third of what a lone
// client would wait for.
func (l *Log) submit(ctx context.Context, c *call) error {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	if l.closed {
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
	if l.waiting+len(c.entries) > l.limits.Queue {
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrOverloaded)
	}
	if l.busy || len(l.queue) > 0 {
		l.waiting += len(c.entries)
		l.metrics.queue(l.waiting)
		l.queue = append(l.queue, c)
		l.ready.Signal()
		return nil
	}
	c.taken, l.busy = true, true
	l.queueMu.Unlock()
	l.process(context.WithoutCancel(ctx), []*call{c}) // too late to withdraw it
	chores := len(l.tiles.full) > 0
	l.queueMu.Lock()
	l.busy, l.chores = chores, chores // the sequencer's goroutine goes on from here
	if chores || len(l.queue) > 0 || l.closed {
		l.ready.Signal()
	}
	return nil
}

func (l *Log) wait(ctx context.Context, c *call) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	l.queueMu.Lock()
	if i := slices.Index(l.queue, c); !c.taken && i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		l.waiting -= len(c.entries)
		l.queueMu.Unlock()
		return fmt.Errorf("append: %w", ctx.Err())
	}
	l.queueMu.Unlock()
	<-c.done
	return c.err
}

// take waits for its turn and for calls, and returns all there are, as far as
// one batch holds them. There is no timer: while one batch is being written the
// next one gathers. It is not ok when the log is closed and the queue is empty.
func (l *Log) take() (calls []*call, ok bool) {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	for !l.chores && (l.busy || len(l.queue) == 0) {
		if l.closed && !l.busy {
			return nil, false
		}
		l.ready.Wait()
	}
	if l.chores {
		l.chores = false
		return nil, true
	}
	l.busy = true
	n, total := 0, 0
	for _, c := range l.queue {
		if n > 0 && (total+c.bytes > l.limits.BatchBytes || c.erase != nil) {
			break
		}
		c.taken = true
		l.waiting -= len(c.entries)
		total += c.bytes
		n++
		if c.erase != nil {
			break // by itself: it is no part of a batch
		}
	}
	calls = slices.Clone(l.queue[:n])
	l.queue = slices.Delete(l.queue, 0, n)
	l.metrics.queue(l.waiting)
	return calls, true
}

func (l *Log) idle() {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	l.busy = false
}

// sequence is the sequencer's goroutine.
func (l *Log) sequence(ctx context.Context) {
	for calls, ok := l.take(); ok; calls, ok = l.take() {
		if len(calls) > 0 {
			l.process(ctx, calls)
		}
		if len(l.tiles.full) > 0 && l.broken == nil {
			l.broken = l.storeTiles(ctx) // those who waited are gone
		}
		l.idle()
	}
}

// process carries calls out and releases those who wait for them. Only who has
// set busy may call it.
func (l *Log) process(ctx context.Context, calls []*call) {
	var err error
	switch {
	case l.broken != nil:
		err = fmt.Errorf("append: %w: %w", ErrUnavailable, l.broken)
	case calls[0].erase != nil:
		err = l.erase(ctx, *calls[0].erase)
	default:
		if err = l.write(ctx, calls); err == nil {
			l.publisher.touch()
		}
	}
	for _, c := range calls {
		c.err = err
		close(c.done)
	}
}

// write makes one batch of the calls. After an error everything is as before.
func (l *Log) write(ctx context.Context, calls []*call) error {
	start := time.Now()
	now := l.now()
	if err := l.clock.check(now); err != nil {
		return fmt.Errorf("append: %w: %w", ErrUnavailable, err)
	}
	d := l.draft()
	count := lo.SumBy(calls, func(c *call) int { return len(c.entries) })
	bodies := make([]*Body, 0, count)
	places := make([]int, 0, count)
	first := d.front.size
	for _, c := range calls {
		for i := range c.entries {
			body := &Body{Salt: c.salts[i], Entry: c.entries[i]}
			place := d.assign(body.Patient)
			d.follow(place, first+uint64(len(bodies)), body, now.UnixMilli())
			bodies, places = append(bodies, body), append(places, place)
		}
	}
	if len(d.added) > 0 {
		// Before the first body under them: a body without a key is lost.
		if err := l.store.AppendKeys(ctx, d.added); err != nil {
			return fmt.Errorf("append keys: %w: %w", ErrUnavailable, err)
		}
		if err := l.addKeys(d.added); err != nil {
			return fmt.Errorf("append keys: %w: %w", ErrUnavailable, err)
		}
		d.added = nil
	}
	batch := Batch{First: first, Records: make([]Record, count)}
	if err := parallel(count, func(i int) (err error) {
		batch.Records[i], err = d.key(places[i]).Seal(first+uint64(i), bodies[i])
		return err
	}); err != nil {
		return fmt.Errorf("append: %w: %w", ErrUnavailable, err)
	}
	for _, r := range batch.Records {
		d.push(r.Leaf)
	}
	root := d.front.root()
	var err error
	if batch.Checkpoint, err = (Checkpoint{Origin: l.origin, Size: batch.End(), Root: root}).Sign(l.signer); err != nil {
		return fmt.Errorf("sign checkpoint: %w: %w", ErrUnavailable, err)
	}
	if err := l.store.Append(ctx, batch); err != nil {
		return fmt.Errorf("append: %w: %w", ErrUnavailable, err)
	}
	l.publisher.signed(batch.End(), batch.Checkpoint)
	l.remember(batch)
	l.commit(d, batch, bodies)
	for next, c := 0, 0; c < len(calls); c++ {
		calls[c].receipts = make([]Receipt, len(calls[c].entries))
		for i := range calls[c].receipts {
			calls[c].receipts[i] = Receipt{Index: first + uint64(next), Time: bodies[next].At(), Size: batch.End(), Root: root}
			next++
		}
	}
	l.metrics.batch(count, time.Since(start))
	return nil
}
