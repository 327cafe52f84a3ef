package records

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records/threshold"
)

// Custodian is one share holder, as the quorum sees it. Round may be called
// from one goroutine at a time.
type Custodian interface {
	Round(context.Context, *Round) (*Answer, error)
	Index() int // 1…n, its place in the committee
}

// Source is all that a quorum needs of the log; *[chain.Log] is one.
type Source interface {
	Batch(ctx context.Context, from uint64, maxBytes int) (chain.Batch, error)
	Keys(from uint64) []chain.LogKey
	Size() uint64
	Checkpoint() []byte
	Grown() <-chan struct{}
	Cosign(checkpoint, line []byte) error
}

// QuorumConfig says whom a [Quorum] asks. Fields are required unless a default
// is named.
type QuorumConfig struct {
	Committee  *threshold.Committee
	Custodians []Custodian    // one for each index of the committee; fewer are allowed from k on
	Keys       map[int]string // each custodian's verifier key (vkey, type 0x04): of its cosignatures and of its answers
	Source     Source

	Timeout   time.Duration         // for one Open or Cosigned, and for one call; 2.5 s if zero
	Lifetime  time.Duration         // from Prepare to a request's not-after, below 30 s; 20 s if zero
	Follow    time.Duration         // how long entries that nobody waits for may be kept back, to travel with a release; 20 ms if zero
	Heartbeat time.Duration         // between calls to an idle custodian; 5 s if zero
	Alert     func(*CustodianError) // called once for each lie, from the goroutine that found it; must not block; none if nil
	Now       func() time.Time      // time.Now if nil
	Log       *slog.Logger          // discarded if nil
	Metrics   prometheus.Registerer // unregistered if nil
}

// Quorum asks a committee of custodians to open what has been logged, and keeps
// them following the log. It is safe for concurrent use.
type Quorum struct {
	config  QuorumConfig
	workers []*worker
	metrics *quorumMetrics
	stop    context.CancelFunc
	closed  <-chan struct{} // done when Close was called
	running sync.WaitGroup

	mu       sync.Mutex    // guards progress
	progress chan struct{} // closed and replaced when a custodian has cosigned more
}

// NewQuorum starts one goroutine a custodian; [Quorum.Close] ends them.
func NewQuorum(c QuorumConfig) (*Quorum, error) {
	if c.Committee == nil || c.Source == nil {
		return nil, errors.New("quorum: a committee and a source of entries are required")
	}
	if err := c.Committee.Validate(); err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	if len(c.Custodians) < c.Committee.K {
		return nil, fmt.Errorf("quorum: %d custodians, the committee's threshold is %d", len(c.Custodians), c.Committee.K)
	}
	seen := map[int]bool{}
	for _, custodian := range c.Custodians {
		i := custodian.Index()
		switch {
		case i < 1 || i > c.Committee.N || seen[i]:
			return nil, fmt.Errorf("quorum: custodian %d is not in the committee of %d, or there twice", i, c.Committee.N)
		}
		seen[i] = true
	}
	c.Timeout = lo.CoalesceOrEmpty(c.Timeout, 2500*time.Millisecond)
	c.Lifetime = lo.CoalesceOrEmpty(c.Lifetime, 20*time.Second)
	c.Follow = lo.CoalesceOrEmpty(c.Follow, 20*time.Millisecond)
	c.Heartbeat = lo.CoalesceOrEmpty(c.Heartbeat, 5*time.Second)
	if c.Timeout < 0 || c.Follow < 0 || c.Heartbeat < 0 || c.Lifetime < 0 || c.Lifetime > MaxLifetime {
		return nil, fmt.Errorf("quorum: durations must be positive, and a request's lifetime at most %s", MaxLifetime)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	metrics, err := newQuorumMetrics(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Quorum{config: c, metrics: metrics, stop: stop, closed: ctx.Done(), progress: make(chan struct{})}
	for _, custodian := range c.Custodians {
		w, err := newWorker(q, custodian, c.Keys[custodian.Index()])
		if err != nil {
			stop()
			return nil, fmt.Errorf("quorum: custodian %d: %w", custodian.Index(), err)
		}
		q.workers = append(q.workers, w)
	}
	for _, w := range q.workers {
		q.running.Go(func() { w.run(ctx) })
	}
	return q, nil
}

// Close ends the calls in flight and returns when nothing runs any more.
// Requests that wait are answered with [ErrClosed].
func (q *Quorum) Close() error {
	q.stop()
	q.running.Wait()
	return nil
}

// Cosigned waits until k custodians hold, and have cosigned, a checkpoint that
// covers the entry: from then on no quorum decides without knowing it. If that
// does not come about within the quorum's timeout, the error wraps
// [ErrTooFewShares]; the entry stands, and takes effect when they return.
func (q *Quorum) Cosigned(ctx context.Context, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	for {
		progress := q.changed()
		lacking := lo.Filter(q.workers, func(w *worker, _ int) bool { return !w.follows(index) })
		have := len(q.workers) - len(lacking)
		if have >= q.config.Committee.K {
			return nil
		}
		select {
		case <-progress:
		case <-q.closed:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("entry %d is held by %d of the %d custodians needed: %w: %w",
				index, have, q.config.Committee.K, ErrTooFewShares, context.Cause(ctx))
		}
	}
}

func (q *Quorum) changed() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.progress
}

func (q *Quorum) advance() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.progress)
	q.progress = make(chan struct{})
}

// CustodianStatus is what the quorum knows of one custodian.
type CustodianStatus struct {
	Index      int           `json:"index"`
	Reachable  bool          `json:"reachable"`       // its last call was answered
	Trusted    bool          `json:"trusted"`         // it has not lied lately
	Size       uint64        `json:"size"`            // entries it has cosigned
	Lag        uint64        `json:"lag"`             // entries it has not
	Took       time.Duration `json:"took"`            // its last call, in nanoseconds
	Seen       time.Time     `json:"seen,omitzero"`   // when it last answered
	LastError  string        `json:"error,omitempty"` // of the last call that went wrong
	Unanswered int           `json:"unanswered"`      // calls in a row
}

// Status reports on every custodian, in the order of the configuration.
func (q *Quorum) Status() []CustodianStatus {
	size := q.config.Source.Size()
	return lo.Map(q.workers, func(w *worker, _ int) CustodianStatus { return w.status(size) })
}

// lie names a custodian that answered dishonestly: logged, counted, distrusted
// from now on, and told to whoever wants to know.
func (q *Quorum) lie(w *worker, err error) *CustodianError {
	lie := &CustodianError{Custodian: w.index, Lied: true, Err: err}
	if w.distrust(lie) {
		q.config.Log.Error("custodian lied", slog.Int("custodian", w.index), slog.Any("error", err))
		q.metrics.lies.WithLabelValues(w.label).Inc()
		if q.config.Alert != nil {
			q.config.Alert(lie)
		}
	}
	return lie
}
