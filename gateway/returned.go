package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/wardkey/wardkey/chain"
)

const (
	returnedEvery = 500 * time.Millisecond // a second is what is promised
	returnedBatch = 256                    // entries in one append
	returnedMax   = 16384                  // entries that may wait
)

// returned queues what answers really gave away, and writes it into the log a
// little later: the access is on the log already, and a clinician does not wait
// for bookkeeping.
type returned struct {
	g *Gateway

	mu      sync.Mutex // guards waiting
	waiting []chain.Entry
	some    chan struct{} // has room for one: there is something to write
}

func newReturned(g *Gateway) *returned { return &returned{g: g, some: make(chan struct{}, 1)} }

// add queues entries.
func (q *returned) add(entries []chain.Entry) {
	if len(entries) == 0 {
		return
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, entries...)
	waiting := len(q.waiting)
	q.mu.Unlock()
	q.g.metrics.waiting.Set(float64(waiting))
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// full tells when the log has not taken follow-ups for so long that nothing more
// may be given away.
func (q *returned) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) >= returnedMax
}

// run writes until the context ends, and then once more.
func (q *returned) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := q.flush(last); err != nil {
				q.g.log.Error("what was returned is not all in the log", failure(err))
			}
			return
		case <-q.some:
		}
		wait(ctx, returnedEvery) // gather a few
		if err := q.flush(context.WithoutCancel(ctx)); err != nil {
			q.g.log.Warn("log what was returned", failure(err))
			select {
			case q.some <- struct{}{}: // again, in a while
			default:
			}
		}
	}
}

// flush writes all that waits, oldest first. What could not be written stays.
func (q *returned) flush(ctx context.Context) error {
	for {
		q.mu.Lock()
		batch := q.waiting[:min(len(q.waiting), returnedBatch)]
		q.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		if _, err := q.g.c.Chain.Append(ctx, batch...); err != nil {
			return err
		}
		q.mu.Lock()
		q.waiting = append([]chain.Entry(nil), q.waiting[len(batch):]...)
		waiting := len(q.waiting)
		q.mu.Unlock()
		q.g.metrics.waiting.Set(float64(waiting))
	}
}

// wait pauses; less long when the context ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
