package records

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/samber/lo"
	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
)

const (
	roundBytes   = 4 << 20                // of entries in one call; a custodian further behind gets several
	roundKeys    = 4096                   // log keys in one call
	catchUpTime  = 15 * time.Second       // for a call with a full load of entries
	firstBackoff = 50 * time.Millisecond  // after the first call without an answer
	lastBackoff  = 1 * time.Second        // at most, between calls to a custodian that is away
	askedBackoff = 100 * time.Millisecond // the same, when somebody asks
	distrustTime = 10 * time.Minute       // after a lie
	behindTries  = 3                      // how often a release is sent again to a custodian that says it is behind
)

// worker serves one custodian: one call at a time, and in it everything that
// has come up since the last.
type worker struct {
	q         *Quorum
	custodian Custodian
	index     int
	label     string // the index, for metrics
	answers   ed25519.PublicKey
	cosigner  note.Verifier

	// Owned by the goroutine in run.
	size, keys uint64 // what the custodian holds, as far as known
	known      bool   // size and keys come from an answer of its own

	wake chan struct{} // one token: something below changed

	mu       sync.Mutex // guards all that follows
	waiting  []*asked
	demanded uint64    // somebody waits for a cosignature over this size
	cosigned uint64    // size of the largest checkpoint it cosigned
	failed   int       // calls without an answer, in a row
	failedAt time.Time // when the last of them ended
	retryAt  time.Time // not called before without reason, while failed > 0
	suspect  time.Time // distrusted until then
	seen     time.Time
	took     time.Duration
	lastErr  error
}

func newWorker(q *Quorum, custodian Custodian, vkey string) (*worker, error) {
	cosigner, err := chain.NewCosignVerifier(vkey)
	if err != nil {
		return nil, err
	}
	// A vkey is name+hash+base64(type‖public key).
	encoded := vkey[strings.LastIndexByte(vkey, '+')+1:]
	if parts := strings.SplitN(vkey, "+", 3); len(parts) == 3 {
		encoded = parts[2]
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return nil, errors.New("verifier key is not an Ed25519 key")
	}
	return &worker{
		q: q, custodian: custodian, index: custodian.Index(), label: strconv.Itoa(custodian.Index()),
		answers: ed25519.PublicKey(raw[1:]), cosigner: cosigner, wake: make(chan struct{}, 1),
	}, nil
}

// asked is one release on its way to one custodian.
type asked struct {
	opening *Opening
	index   uint64
	replies chan<- reply    // has room for all of an Open's workers
	done    <-chan struct{} // nobody waits any more
	tries   int             // times the custodian said it was behind
}

// reply is what became of it: an error, a refusal, or a box in a round.
type reply struct {
	worker  *worker
	err     error
	refusal string
	box     []byte
	round   *answered
}

func (w *worker) ask(a *asked) {
	w.mu.Lock()
	w.waiting = append(w.waiting, a)
	w.mu.Unlock()
	w.poke()
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// follows says whether the custodian has cosigned the entry; if not, it is
// brought to do so without delay.
func (w *worker) follows(index uint64) bool {
	w.mu.Lock()
	have := w.cosigned > index
	if !have && w.demanded <= index {
		w.demanded = index + 1
		defer w.poke()
	}
	w.mu.Unlock()
	return have
}

func (w *worker) run(ctx context.Context) {
	defer w.refuse(ErrClosed)
	for ctx.Err() == nil {
		grown := w.q.config.Source.Grown()
		p := w.plan()
		if p.wait <= 0 {
			w.round(ctx, p.releases)
			continue
		}
		if !p.idle {
			grown = nil // it counts down to its next call already
		}
		timer := time.NewTimer(p.wait)
		select {
		case <-timer.C:
			w.round(ctx, nil)
		case <-w.wake:
		case <-grown:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// plan is what a worker does next: call with these releases, or with none; or
// wait and call then, unless something comes up.
type plan struct {
	releases []*asked
	wait     time.Duration
	idle     bool // nothing is pending
}

func (w *worker) plan() plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = lo.Reject(w.waiting, func(a *asked, _ int) bool { return isDone(a.done) })
	if until := time.Until(w.retryAt); w.failed > 0 && until > 0 {
		if len(w.waiting) == 0 {
			return plan{wait: until}
		}
		// Away. Somebody who asks is reason to try before the time, but not at
		// once after the last try: then he is told, rather than made to wait.
		if time.Since(w.failedAt) < askedBackoff {
			for _, a := range w.waiting {
				a.replies <- reply{worker: w, err: fmt.Errorf("unreachable: %w", w.lastErr)}
			}
			w.waiting = nil
			return plan{wait: until}
		}
	}
	if len(w.waiting) > 0 {
		items, take := 0, 0
		for take < len(w.waiting) && take < MaxReleases && items+len(w.waiting[take].opening.items) <= MaxRoundItems {
			items += len(w.waiting[take].opening.items)
			take++
		}
		p := plan{releases: w.waiting[:take:take]}
		w.waiting = w.waiting[take:]
		return p
	}
	switch behind := w.size < w.q.config.Source.Size(); {
	case !w.known, behind && w.demanded > w.size:
		return plan{}
	case behind:
		return plan{wait: w.q.config.Follow}
	}
	return plan{wait: w.q.config.Heartbeat, idle: true}
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// round makes one call and hands out what comes back.
func (w *worker) round(ctx context.Context, releases []*asked) {
	round, now, later, err := w.compose(ctx, releases)
	if err != nil {
		w.fail(releases, fmt.Errorf("read the log: %w", err))
		return
	}
	w.again(later)
	limit := w.q.config.Timeout
	if round.Batch.End() < w.q.config.Source.Size() {
		limit = catchUpTime
	}
	calling, cancel := context.WithTimeout(ctx, limit)
	started := time.Now()
	answer, err := w.custodian.Round(calling, round)
	took := time.Since(started)
	cancel()
	if err == nil {
		err = w.check(round, answer)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ErrClosed
		}
		w.fail(now, err)
		return
	}
	w.q.metrics.rounds.WithLabelValues(w.label).Observe(took.Seconds())
	if len(now) > 0 {
		w.q.metrics.batched.Observe(float64(len(now)))
	}
	stuck := w.known && answer.Size <= w.size
	if stuck && answer.Size < round.Batch.End() {
		w.fail(now, fmt.Errorf("it takes no entries beyond its %d", answer.Size))
		return
	}
	w.size, w.keys, w.known = answer.Size, answer.Keys, true
	w.succeed(round, answer, took)
	w.deliver(&answered{worker: w, round: round, answer: answer, releases: now}, stuck)
}

// compose reads from the log what the custodian needs next. Releases whose
// entries are not covered yet are for later.
func (w *worker) compose(ctx context.Context, releases []*asked) (round *Round, now, later []*asked, err error) {
	source := w.q.config.Source
	round = &Round{ID: make([]byte, RoundIDSize), KeysFrom: w.keys}
	rand.Read(round.ID)
	if !w.known {
		// A greeting: the custodian says where it stands.
		round.KeysFrom = 0
		round.Batch, err = source.Batch(ctx, source.Size(), roundBytes)
		return round, nil, releases, err
	}
	if round.Batch, err = source.Batch(ctx, w.size, roundBytes); err != nil {
		return nil, nil, nil, err
	}
	round.Keys = needed(source.Keys(w.keys), round.Batch.Records)
	now, later = lo.FilterReject(releases, func(a *asked, _ int) bool { return a.index < round.Batch.End() })
	round.Releases = lo.Map(now, func(a *asked, _ int) Release { return a.opening.release(a.index) })
	return round, now, later, nil
}

// needed cuts keys, which come in the order of their first use, to those that
// the records are under: a custodian that is far behind lacks a great many.
func needed(keys []chain.LogKey, records []chain.Record) []chain.LogKey {
	place := make(map[chain.KeyID]int, len(keys))
	for i, k := range keys {
		place[k.ID] = i + 1
	}
	most := 0
	for _, r := range records {
		most = max(most, place[r.Key])
	}
	return keys[:most]
}

// again puts releases back, first in the queue.
func (w *worker) again(releases []*asked) {
	if len(releases) == 0 {
		return
	}
	w.mu.Lock()
	w.waiting = append(releases, w.waiting...)
	w.mu.Unlock()
}

// check verifies an answer as far as anyone could who does not hold a reader
// key. A false one is a lie.
func (w *worker) check(round *Round, answer *Answer) error {
	switch {
	case answer.Custodian != w.index:
		return w.q.lie(w, fmt.Errorf("answer in the name of custodian %d", answer.Custodian))
	case !ed25519.Verify(w.answers, answer.Message(round), answer.Signature):
		return w.q.lie(w, errors.New("signature does not hold for this round"))
	case len(answer.Releases) != len(round.Releases):
		return w.q.lie(w, fmt.Errorf("%d answers to %d releases", len(answer.Releases), len(round.Releases)))
	}
	if size := w.q.config.Source.Size(); answer.Size > size {
		return fmt.Errorf("it holds %d entries, the log %d: one of them was restored from a backup", answer.Size, size)
	}
	if len(answer.Cosignature) > 0 {
		if _, err := chain.VerifyCosignature(round.Batch.Checkpoint, answer.Cosignature, w.cosigner); err != nil {
			return w.q.lie(w, err)
		}
	}
	return nil
}

// succeed notes a good answer, and hands its cosignature on.
func (w *worker) succeed(round *Round, answer *Answer, took time.Duration) {
	w.mu.Lock()
	w.failed, w.lastErr = 0, nil
	w.seen, w.took = w.q.config.Now(), took
	more := len(answer.Cosignature) > 0 && round.Batch.End() > w.cosigned
	if more {
		w.cosigned = round.Batch.End()
	}
	w.mu.Unlock()
	if !more {
		return
	}
	if err := w.q.config.Source.Cosign(round.Batch.Checkpoint, answer.Cosignature); err != nil {
		// Of an old checkpoint, most likely, while the custodian catches up.
		w.q.config.Log.Debug("cosignature not taken by the log", slog.Int("custodian", w.index), slog.Any("error", err))
	}
	w.q.advance()
}

// deliver answers the releases of a round. One whose custodian is still behind
// is sent again with what it lacks, unless that did not help.
func (w *worker) deliver(round *answered, stuck bool) {
	var again []*asked
	for i, a := range round.releases {
		answer := round.answer.Releases[i]
		switch {
		case answer.Refusal == RefusedBehind && !stuck && a.tries < behindTries:
			a.tries++
			again = append(again, a)
			continue
		case answer.Refusal != "":
			w.q.metrics.refusals.WithLabelValues(w.label, refusalLabel(answer.Refusal)).Inc()
		}
		a.replies <- reply{worker: w, refusal: answer.Refusal, box: answer.Box, round: round}
	}
	w.again(again)
}

// fail notes a call without a usable answer.
func (w *worker) fail(releases []*asked, err error) {
	w.q.metrics.failures.WithLabelValues(w.label).Inc()
	w.mu.Lock()
	w.failed++
	backoff := min(firstBackoff<<min(w.failed-1, 10), lastBackoff)
	w.failedAt = time.Now()
	w.retryAt = w.failedAt.Add(backoff)
	w.lastErr = err
	first := w.failed == 1
	w.mu.Unlock()
	w.known = false // it may come back as another
	if first && !errors.Is(err, ErrClosed) {
		w.q.config.Log.Warn("custodian does not answer", slog.Int("custodian", w.index), slog.Any("error", err))
	}
	for _, a := range releases {
		a.replies <- reply{worker: w, err: err}
	}
}

// refuse answers everybody who waits.
func (w *worker) refuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.waiting {
		a.replies <- reply{worker: w, err: err}
	}
	w.waiting = nil
}

// distrust says whether this is the first lie for a while.
func (w *worker) distrust(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := time.Now().After(w.suspect)
	w.suspect = time.Now().Add(distrustTime)
	w.lastErr = err
	return first
}

func (w *worker) trusted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().After(w.suspect)
}

func (w *worker) status(size uint64) CustodianStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := CustodianStatus{
		Index: w.index, Reachable: w.failed == 0 && !w.seen.IsZero(), Trusted: time.Now().After(w.suspect),
		Size: w.cosigned, Lag: size - min(size, w.cosigned), Took: w.took, Seen: w.seen, Unanswered: w.failed,
	}
	if w.lastErr != nil {
		s.LastError = w.lastErr.Error()
	}
	return s
}

// refusalLabel keeps what custodians say from making metrics without end.
func refusalLabel(reason string) string {
	if len(reason) > 32 || strings.ContainsFunc(reason, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' }) {
		return "other"
	}
	return reason
}
