package records

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/threshold"
)

// Open asks all custodians for the release of what was prepared and logged, and
// opens it with the first k good answers. The resources come in the order of
// the envelopes.
//
// Errors: *[RefusedError] when custodians said no, [ErrTooFewShares] when too
// few could be reached in time, [ErrBroken] when an envelope does not open
// although enough honest ones answered, [ErrClosed], or that of the context. A
// custodian whose answer proves false is named in the quorum's log, metrics,
// status and alert; as long as k others answer, nobody else notices.
func (q *Quorum) Open(ctx context.Context, o *Opening, receipt chain.Receipt) ([]*fhir.Resource, error) {
	started := time.Now()
	resources, err := q.open(ctx, o, receipt.Index)
	q.metrics.opens.WithLabelValues(outcome(err)).Observe(time.Since(started).Seconds())
	return resources, err
}

func outcome(err error) string {
	_, refused := errors.AsType[*RefusedError](err)
	switch {
	case err == nil:
		return "opened"
	case refused:
		return "refused"
	case errors.Is(err, ErrTooFewShares):
		return "too-few-shares"
	}
	return "error"
}

func (q *Quorum) open(ctx context.Context, o *Opening, index uint64) ([]*fhir.Resource, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, q.config.Timeout, ErrTooFewShares)
	defer cancel()
	g := gathering{q: q, opening: o, index: index, waiting: len(q.workers), boxes: map[int]good{}}
	defer g.forget()
	replies := make(chan reply, len(q.workers))
	for _, w := range q.workers {
		w.ask(&asked{opening: o, index: index, replies: replies, done: ctx.Done()})
	}
	for {
		select {
		case r := <-replies:
			g.take(r)
		case <-q.closed:
			return nil, ErrClosed
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), ErrTooFewShares) {
				return nil, g.failure()
			}
			return nil, context.Cause(ctx)
		}
		for len(g.boxes) >= q.config.Committee.K {
			resources, err := g.combine()
			if !errors.Is(err, errLie) {
				return resources, err
			}
		}
		if g.over() {
			return nil, g.failure()
		}
	}
}

// gathering is one Open in progress; one goroutine owns it.
type gathering struct {
	q       *Quorum
	opening *Opening
	index   uint64
	waiting int          // custodians that have not replied
	boxes   map[int]good // by custodian
	refused map[string][]int
	errs    []error
}

// good is an answer that can be used, as far as one can see.
type good struct {
	partials []threshold.Partial
	round    *answered
}

func (g *gathering) take(r reply) {
	g.waiting--
	switch {
	case r.err != nil:
		lie, ok := errors.AsType[*CustodianError](r.err)
		if !ok {
			lie = &CustodianError{Custodian: r.worker.index, Err: r.err}
		}
		g.errs = append(g.errs, lie)
		return
	case r.refusal != "":
		if g.refused == nil {
			g.refused = map[string][]int{}
		}
		g.refused[r.refusal] = append(g.refused[r.refusal], r.worker.index)
		return
	}
	o := g.opening
	partials, err := openBox(o.reader, o.hash, g.index, r.box, len(o.items))
	if err != nil {
		g.errs = append(g.errs, g.q.lie(r.worker, err))
		return
	}
	if !r.worker.trusted() {
		// It has lied lately: its word is not taken before its proof.
		if err := r.round.verify(g.q.config.Committee); err != nil {
			g.errs = append(g.errs, g.q.lie(r.worker, err))
			return
		}
	}
	g.boxes[r.worker.index] = good{partials: partials, round: r.round}
}

// forget wipes the shares.
func (g *gathering) forget() {
	for _, b := range g.boxes {
		clear(b.partials)
	}
}

// errLie says that a custodian was dropped and others are to be waited for.
var errLie = errors.New("a custodian lied")

// combine opens the envelopes with the answers at hand, side by side. Proofs are
// looked at only when the result is not what the label commits to.
func (g *gathering) combine() ([]*fhir.Resource, error) {
	resources := make([]*fhir.Resource, len(g.opening.envelopes))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range resources {
		group.Go(func() (err error) {
			resources[i], err = g.combineOne(i)
			return err
		})
	}
	err := group.Wait()
	switch {
	case err == nil:
		return resources, nil
	case errors.Is(err, errUncommitted) && g.dropLiars():
		return nil, errLie
	}
	return nil, err
}

func (g *gathering) combineOne(i int) (*fhir.Resource, error) {
	e := g.opening.envelopes[i]
	partials := lo.MapValues(g.boxes, func(b good, _ int) threshold.Partial { return b.partials[i] })
	root, err := g.q.config.Committee.Combine(g.opening.ciphertexts[i], g.opening.labels[i], partials)
	defer clear(root[:])
	if err != nil || !e.commits(&root) {
		return nil, fmt.Errorf("%s: %w: %w", e.Label.Ref(), ErrBroken, errUncommitted)
	}
	return e.open(&root) // no copy is left behind
}

// errUncommitted says that the shares do not make the secret that the label
// commits to: a custodian lied, or whoever sealed the envelope did.
var errUncommitted = errors.New("shares do not make the committed secret")

// dropLiars verifies the proofs behind the answers at hand and drops those that
// do not hold. It reports whether there were any.
func (g *gathering) dropLiars() bool {
	lied := false
	for index, b := range g.boxes {
		if err := b.round.verify(g.q.config.Committee); err != nil {
			g.errs = append(g.errs, g.q.lie(b.round.worker, err))
			delete(g.boxes, index)
			lied = true
		}
	}
	return lied
}

// over says whether there is nothing more to wait for: no quorum is left, and
// it is settled whether that was a verdict. While one custodian is away and the
// first of the others refuses, it is not: those who still think may refuse too.
func (g *gathering) over() bool {
	if len(g.boxes)+g.waiting >= g.q.config.Committee.K {
		return false
	}
	by := len(lo.Flatten(lo.Values(g.verdicts())))
	return by == 0 || by >= g.enough() || by+g.waiting < g.enough()
}

// verdicts are the refusals that are judgements on the request.
func (g *gathering) verdicts() map[string][]int {
	return lo.OmitBy(g.refused, func(reason string, _ []int) bool { return available(reason) })
}

// enough is how many refusals make a verdict: more than may lie, or as many as
// suffice to block.
func (g *gathering) enough() int {
	c := g.q.config.Committee
	return min(c.F+1, c.N-c.K+1)
}

// failure says why no quorum is left.
func (g *gathering) failure() error {
	c, verdicts := g.q.config.Committee, g.verdicts()
	by := lo.Flatten(lo.Values(verdicts))
	if len(by) >= g.enough() {
		slices.Sort(by)
		reason := lo.MaxBy(lo.Keys(verdicts), func(a, b string) bool {
			if len(verdicts[a]) != len(verdicts[b]) {
				return len(verdicts[a]) > len(verdicts[b])
			}
			return a < b
		})
		return &RefusedError{Reason: policy.Reason(reason), By: by}
	}
	errs := g.errs
	for reason, by := range g.refused {
		errs = append(errs, fmt.Errorf("custodians %v refused: %s", by, reason))
	}
	if g.waiting > 0 {
		errs = append(errs, fmt.Errorf("%d custodians did not answer within %s", g.waiting, g.q.config.Timeout))
	}
	return fmt.Errorf("%d of %d: %w: %w", len(g.boxes), c.K, ErrTooFewShares, errors.Join(errs...))
}

// answered is a round with its answer, shared by all whose releases were in it.
type answered struct {
	worker   *worker
	round    *Round
	answer   *Answer
	releases []*asked

	once sync.Once
	err  error
}

// verify checks the proof of the round's whole answer: it covers every item
// that was released, whoever asked for it. It is worked out once.
func (a *answered) verify(c *threshold.Committee) error {
	a.once.Do(func() { a.err = a.verifyProof(c) })
	return a.err
}

func (a *answered) verifyProof(c *threshold.Committee) error {
	var ciphertexts []threshold.Ciphertext
	var partials []threshold.Partial
	for i, release := range a.releases {
		if a.answer.Releases[i].Refusal != "" {
			continue
		}
		o := release.opening
		opened, err := openBox(o.reader, o.hash, release.index, a.answer.Releases[i].Box, len(o.items))
		if err != nil {
			return err
		}
		ciphertexts = append(ciphertexts, o.ciphertexts...)
		partials = append(partials, opened...)
	}
	proof, err := threshold.ParseProof(a.answer.Proof)
	if err != nil {
		return err
	}
	context, err := ProofContext(a.round.Batch.Checkpoint, a.round.ID)
	if err != nil {
		return err
	}
	return c.VerifyPartials(a.worker.index, ciphertexts, partials, proof, context)
}
