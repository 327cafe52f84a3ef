package custodian_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
)

// A custodian that took over an entry of tomorrow would find every clock late
// until then, its own included.
func TestOneEntryFromTheFutureIsNotTakenOver(t *testing.T) {
	w := newWard(t, still())
	w.ask(t)
	inner := w.Custodians[0].Inner()
	before := inner.Status()
	w.Clock.Move(24 * time.Hour)
	w.Append(chain.Entry{Kind: chain.Admin})
	w.Clock.Move(-24 * time.Hour)
	release := w.release(t, w.attempt(t, w.doctor, w.envelope))
	answer := w.ask(t, release)
	if got := answer.Releases[0]; got.Refusal != records.RefusedClock || got.Box != nil {
		t.Errorf("answered %+v", got)
	}
	if answer.Cosignature != nil || answer.Size != before.Size {
		t.Errorf("cosigned %q, at %d entries of %d", answer.Cosignature, answer.Size, before.Size)
	}
	if after := inner.Status(); after.Checkpoint != before.Checkpoint || after.Size != before.Size {
		t.Errorf("it followed to %d", after.Size)
	}
	// When that time has come it follows, and answers what is asked then.
	w.Clock.Move(24*time.Hour + time.Second)
	if answer = w.ask(t); answer.Cosignature == nil || answer.Size != w.Log.Size() {
		t.Errorf("a day later it holds %d entries of %d", answer.Size, w.Log.Size())
	}
}

func TestErasuresAreNotFollowed(t *testing.T) {
	w := newWard(t, still())
	w.ask(t)
	inner := w.Custodians[0].Inner()
	before := inner.Status()
	w.Append(chain.Entry{Kind: chain.Erase, Patient: patient})
	batch, err := w.Log.Batch(t.Context(), before.Size, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := inner.Round(t.Context(), &records.Round{ID: make([]byte, records.RoundIDSize), Batch: batch, KeysFrom: before.Keys})
	if refused, ok := errors.AsType[*chain.RecordError](err); answer != nil || !ok || refused.Index != before.Size {
		t.Errorf("Round() = %+v, %v", answer, err)
	}
	if after := inner.Status(); after.Checkpoint != before.Checkpoint {
		t.Error("it followed")
	}
}

// However many releases of a round are bad, each ciphertext is verified twice at
// most: with all others, and with those of its release.
func TestBadReleasesCostNoMoreThanGoodOnesTwice(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	o := still()
	o.Custodian = func(c *custodian.Config) {
		if c.Index == 1 {
			c.Metrics = registry
		}
	}
	w := newWard(t, o)
	verifications := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "custodian_ciphertexts_verified_total" {
				return family.GetMetric()[0].GetCounter().GetValue()
			}
		}
		t.Fatal("verifications are not counted")
		return 0
	}
	w.ask(t, w.release(t, w.attempt(t, w.doctor, w.envelope)), w.release(t, w.attempt(t, w.doctor, w.envelope, w.second)))
	good := verifications()
	if good != 3 {
		t.Errorf("%v verifications of 3 good ciphertexts", good)
	}
	var releases []records.Release
	const n, items = 24, 4
	for i := range n {
		a := w.attempt(t, w.doctor, w.envelope)
		for range items - 1 {
			a.add(w.second)
		}
		if i%4 != 0 { // three of four are bad
			leaf := w.envelope.Leaves[0]
			leaf.Ciphertext = slices.Clone(leaf.Ciphertext)
			copy(leaf.Ciphertext[32:64], w.second.Leaves[0].Ciphertext[32:64])
			a.items[0].Leaf = leaf.Encode()
			a.digested(t)
		}
		releases = append(releases, w.release(t, a))
	}
	answer := w.ask(t, releases...)
	for i, got := range answer.Releases {
		if bad := i%4 != 0; bad != (got.Refusal == records.RefusedBad) || bad != (got.Box == nil) {
			t.Errorf("release %d: refusal %q, box of %d bytes", i, got.Refusal, len(got.Box))
		}
	}
	if got := verifications() - good; got != 2*n*items {
		t.Errorf("%v verifications of %d ciphertexts", got, n*items)
	}
}
