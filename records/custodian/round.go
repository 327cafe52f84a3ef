package custodian

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/threshold"
)

// Round takes the entries over, cosigns, and answers the releases: each decided
// by itself, all ciphertexts verified in one batch and released under one proof.
// A release that is refused does not touch the others.
//
// An error means that the round as a whole is not answered: the log forked, its
// records are not what they should be, or the copy cannot be kept. Being behind
// is no error, nor are entries from the future; the answer says how far it got.
func (c *Custodian) Round(ctx context.Context, r *records.Round) (*records.Answer, error) {
	started := time.Now()
	answer, err := c.round(ctx, r)
	if err != nil {
		c.metrics.rounds.WithLabelValues("failed").Observe(time.Since(started).Seconds())
		c.log.ErrorContext(ctx, "round not answered", slog.Uint64("first", r.Batch.First), slog.Int("records", len(r.Batch.Records)), slog.Any("error", err))
		return nil, err
	}
	c.metrics.rounds.WithLabelValues("answered").Observe(time.Since(started).Seconds())
	return answer, nil
}

func (c *Custodian) round(ctx context.Context, r *records.Round) (*records.Answer, error) {
	if err := records.CheckRound(r); err != nil {
		return nil, err
	}
	err := c.replica.Extend(ctx, r.Keys, r.KeysFrom, r.Batch)
	_, gap := errors.AsType[*chain.GapError](err)
	future, ahead := errors.AsType[*chain.FutureError](err)
	if err != nil && !gap && !ahead {
		return nil, fmt.Errorf("follow the log: %w", err)
	}
	answer := &records.Answer{Custodian: c.index, Releases: make([]records.ReleaseAnswer, len(r.Releases))}
	switch {
	case gap:
		for i := range answer.Releases {
			answer.Releases[i].Refusal = records.RefusedBehind
		}
	case ahead:
		c.log.WarnContext(ctx, "entries from the future not taken over", slog.Any("error", future))
		for i := range r.Releases {
			c.refuse(ctx, &r.Releases[i], &answer.Releases[i], records.RefusedClock)
		}
	default:
		if answer.Cosignature, err = chain.Cosign(r.Batch.Checkpoint, c.cosigner); err != nil {
			return nil, err
		}
		if err := c.answer(ctx, r, answer); err != nil {
			return nil, err
		}
	}
	answer.Size, answer.Keys = c.replica.Size(), c.replica.KeyCount()
	answer.Signature = ed25519.Sign(c.signer, answer.Message(r))
	return answer, nil
}

// granted is a release that has passed every check but that of its
// ciphertexts.
type granted struct {
	at          int // in the round
	index       uint64
	reader      []byte
	request     [32]byte
	ciphertexts []threshold.Ciphertext
	labels      [][]byte
	box         *records.Box
}

// answer fills in what becomes of each release.
func (c *Custodian) answer(ctx context.Context, r *records.Round, answer *records.Answer) error {
	now := c.now()
	var passed []*granted
	for i := range r.Releases {
		g, refusal := c.judge(ctx, &r.Releases[i], now)
		if refusal != "" {
			c.refuse(ctx, &r.Releases[i], &answer.Releases[i], refusal)
			continue
		}
		g.at = i
		passed = append(passed, g)
	}
	passed = c.boxed(ctx, r, answer, c.verified(ctx, r, answer, passed))
	if len(passed) == 0 {
		return nil
	}
	proof, err := records.ProofContext(r.Batch.Checkpoint, r.ID)
	if err != nil {
		return err
	}
	partials, dleq, err := c.share.Release(lo.FlatMap(passed, func(g *granted, _ int) []threshold.Ciphertext { return g.ciphertexts }), proof)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	defer clear(partials)
	answer.Proof = dleq[:]
	for _, g := range passed {
		if answer.Releases[g.at].Box, err = g.box.Seal(partials[:len(g.ciphertexts)]); err != nil {
			return err
		}
		partials = partials[len(g.ciphertexts):]
	}
	c.metrics.released.Add(float64(len(passed)))
	return nil
}

// verified drops the releases with a ciphertext that was not honestly made for
// its label: releasing on those would answer for ciphertexts derived from others.
func (c *Custodian) verified(ctx context.Context, r *records.Round, answer *records.Answer, passed []*granted) []*granted {
	if len(passed) == 0 {
		return nil
	}
	ciphertexts := lo.FlatMap(passed, func(g *granted, _ int) []threshold.Ciphertext { return g.ciphertexts })
	labels := lo.FlatMap(passed, func(g *granted, _ int) [][]byte { return g.labels })
	if c.verify(ciphertexts, labels) == nil {
		return passed
	}
	// All again, but each once and by itself: to drop one and try the others
	// together would cost a round of bad releases the square of their number.
	return lo.Filter(passed, func(g *granted, _ int) bool {
		err := c.verify(g.ciphertexts, g.labels)
		if err != nil {
			c.refuse(ctx, &r.Releases[g.at], &answer.Releases[g.at], records.RefusedBad)
		}
		return err == nil
	})
}

// verify checks ciphertexts in one batch, and counts them.
func (c *Custodian) verify(ciphertexts []threshold.Ciphertext, labels [][]byte) error {
	c.metrics.verified.Add(float64(len(ciphertexts)))
	return c.committee.Verify(ciphertexts, labels)
}

// boxed makes the box of each release, and drops those whose reader key is none:
// now, because the proof is to cover what is answered and nothing else. What a
// round costs is largely this, so it is done side by side.
func (c *Custodian) boxed(ctx context.Context, r *records.Round, answer *records.Answer, passed []*granted) []*granted {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, g := range passed {
		group.Go(func() (err error) {
			g.box, err = records.NewBox(g.reader, g.request, g.index)
			return err
		})
	}
	if group.Wait() == nil {
		return passed
	}
	return lo.Filter(passed, func(g *granted, _ int) bool {
		if g.box == nil {
			c.refuse(ctx, &r.Releases[g.at], &answer.Releases[g.at], records.RefusedBad)
		}
		return g.box != nil
	})
}

func (c *Custodian) refuse(ctx context.Context, r *records.Release, answer *records.ReleaseAnswer, refusal string) {
	answer.Refusal = refusal
	c.metrics.refused.WithLabelValues(refusal).Inc()
	c.log.InfoContext(ctx, "refused", slog.Uint64("index", r.Index), slog.String("reason", refusal))
}
