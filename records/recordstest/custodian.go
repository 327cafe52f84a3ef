package recordstest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

// Falsehood is a way to lie.
type Falsehood string

// The ways in which a custodian lies. Each but ReplayedAnswer and
// WrongSignature signs what it says.
const (
	Honest         Falsehood = ""
	WrongPartial   Falsehood = "wrong partial"   // by another share than the committee lists, with a proof of its own
	GarbageBox     Falsehood = "garbage box"     // nothing that the reader can open
	ShortBox       Falsehood = "short box"       // for the reader, and too little
	ReplayedAnswer Falsehood = "replayed answer" // that of an earlier round
	WrongSignature Falsehood = "wrong signature"
	WrongIndex     Falsehood = "wrong index" // in another custodian's name
	FewerAnswers   Falsehood = "fewer answers"
	BadCosignature Falsehood = "bad cosignature"
)

// Falsehoods are all of them.
func Falsehoods() []Falsehood {
	return []Falsehood{WrongPartial, GarbageBox, ShortBox, ReplayedAnswer, WrongSignature, WrongIndex, FewerAnswers, BadCosignature}
}

// ErrAsleep is what a call to a custodian that sleeps or is stopped comes to.
var ErrAsleep = errors.New("connection refused")

// Custodian is a real custodian behind a line that can be cut, and a mouth that
// can lie.
type Custodian struct {
	Clock *Clock // its own

	h      *Hospital
	index  int
	vkey   string
	signer ed25519.PrivateKey
	store  chain.Store
	config func() custodian.Config

	mu       sync.Mutex // guards all below
	inner    *custodian.Custodian
	asleep   bool
	silent   chan struct{} // not nil: calls wait for it to be closed, or for their end
	delay    time.Duration
	lie      Falsehood
	previous *records.Answer
	false    *threshold.Share // of another key
	calls    int
	rounds   func(*records.Round)
}

// Index is its place in the committee.
func (c *Custodian) Index() int { return c.index }

// Store is where its copy of the log is kept.
func (c *Custodian) Store() chain.Store { return c.store }

// Inner is the custodian itself; nil while it is stopped.
func (c *Custodian) Inner() *custodian.Custodian {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inner
}

// Sleep refuses all calls at once, as a closed port does.
func (c *Custodian) Sleep() { c.set(func() { c.asleep = true }) }

// Wake ends Sleep, Hush, Slow and Lie.
func (c *Custodian) Wake() {
	c.set(func() {
		c.asleep, c.delay, c.lie = false, 0, Honest
		if c.silent != nil {
			close(c.silent)
			c.silent = nil
		}
	})
}

// Hush takes calls and does not answer.
func (c *Custodian) Hush() { c.set(func() { c.silent = make(chan struct{}) }) }

// Slow answers late.
func (c *Custodian) Slow(by time.Duration) { c.set(func() { c.delay = by }) }

// Lie answers dishonestly from now on.
func (c *Custodian) Lie(how Falsehood) {
	c.h.T.Helper()
	_, shares, err := dkg.Deal(c.h.Committee.ID, c.h.Committee.N, c.h.Committee.K, c.h.Committee.F)
	check(c.h.T, err)
	c.set(func() { c.lie, c.false = how, shares[c.index-1] })
}

// Stop ends the custodian; what it stored stays.
func (c *Custodian) Stop() {
	c.h.T.Helper()
	c.set(func() {
		if c.inner != nil {
			check(c.h.T, c.inner.Close())
			c.inner = nil
		}
	})
}

// Start opens it again from what it stored.
func (c *Custodian) Start() {
	c.h.T.Helper()
	inner := must(custodian.Open(context.Background(), c.config()))(c.h.T)
	c.set(func() { c.inner = inner })
}

// Calls is how often it was called, answered or not.
func (c *Custodian) Calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// Watch has every round that arrives shown to f, before it is answered.
func (c *Custodian) Watch(f func(*records.Round)) { c.set(func() { c.rounds = f }) }

func (c *Custodian) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// Round is what the quorum calls.
func (c *Custodian) Round(ctx context.Context, r *records.Round) (*records.Answer, error) {
	c.mu.Lock()
	c.calls++
	inner, asleep, silent, delay, lie, watch := c.inner, c.asleep, c.silent, c.delay, c.lie, c.rounds
	c.mu.Unlock()
	if watch != nil {
		watch(r)
	}
	if asleep || inner == nil {
		return nil, ErrAsleep
	}
	if silent != nil {
		select {
		case <-silent:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	answer, err := inner.Round(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.distort(r, answer, lie), nil
}

// distort makes an honest answer a lie.
func (c *Custodian) distort(r *records.Round, honest *records.Answer, how Falsehood) *records.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	previous := c.previous
	c.previous = honest
	answer := *honest
	answer.Releases = slices.Clone(honest.Releases)
	sign := func() *records.Answer {
		answer.Signature = ed25519.Sign(c.signer, answer.Message(r))
		return &answer
	}
	switch how {
	case WrongPartial:
		c.releaseFalsely(r, &answer)
		return sign()
	case GarbageBox:
		for i := range answer.Releases {
			if answer.Releases[i].Box != nil {
				answer.Releases[i].Box = make([]byte, len(answer.Releases[i].Box))
				rand.Read(answer.Releases[i].Box)
			}
		}
		return sign()
	case ShortBox:
		for i := range answer.Releases {
			if answer.Releases[i].Box != nil {
				answer.Releases[i].Box = c.box(&r.Releases[i], nil)
			}
		}
		return sign()
	case ReplayedAnswer:
		if previous != nil {
			return previous
		}
	case WrongSignature:
		answer.Signature = slices.Clone(answer.Signature)
		answer.Signature[0] ^= 1
	case WrongIndex:
		answer.Custodian = c.index%c.h.Committee.N + 1
		return sign()
	case FewerAnswers:
		if len(answer.Releases) > 0 {
			answer.Releases = answer.Releases[1:]
			return sign()
		}
	case BadCosignature:
		if n := len(answer.Cosignature); n > 0 {
			answer.Cosignature = slices.Clone(answer.Cosignature)
			answer.Cosignature[n-4] ^= 1
			return sign()
		}
	}
	return &answer
}

// releaseFalsely answers with partials by a share of its own making.
func (c *Custodian) releaseFalsely(r *records.Round, answer *records.Answer) {
	context, err := records.ProofContext(r.Batch.Checkpoint, r.ID)
	check(c.h.T, err)
	var ciphertexts []threshold.Ciphertext
	for i := range r.Releases {
		if answer.Releases[i].Box != nil {
			ciphertexts = append(ciphertexts, leaves(&r.Releases[i])...)
		}
	}
	if len(ciphertexts) == 0 {
		return
	}
	partials, proof, err := c.false.Release(ciphertexts, context)
	check(c.h.T, err)
	answer.Proof = proof[:]
	for i := range r.Releases {
		if answer.Releases[i].Box != nil {
			n := len(r.Releases[i].Items)
			answer.Releases[i].Box = c.box(&r.Releases[i], partials[:n])
			partials = partials[n:]
		}
	}
}

func (c *Custodian) box(r *records.Release, partials []threshold.Partial) []byte {
	request := must(records.DecodeRequest(r.Request))(c.h.T)
	return must(must(records.NewBox(request.Reader, records.RequestHash(r.Request), r.Index))(c.h.T).Seal(partials))(c.h.T)
}

func leaves(r *records.Release) []threshold.Ciphertext {
	var out []threshold.Ciphertext
	for _, item := range r.Items {
		if leaf, err := records.DecodeLeaf(item.Leaf); err == nil {
			out = append(out, threshold.Ciphertext(leaf.Ciphertext))
		}
	}
	return out
}
