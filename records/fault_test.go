package records_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/recordstest"
)

// Whoever seals may have committed to another secret than he encrypted. That is
// told apart from a lying custodian, and nobody is blamed for it.
func TestEnvelopeThatWasNeverSoundIsNobodysLie(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	bent := *w.envelope
	bent.Label.Com[0] ^= 1
	item := bent.Item()
	leaf := bent.Leaves[0]
	ciphertext, err := w.Committee.Encrypt([32]byte{1}, item.LeafLabel(&leaf))
	if err != nil {
		t.Fatal(err)
	}
	leaf.Ciphertext = ciphertext[:]
	bent.Leaves = []records.Leaf{leaf}
	got, err := w.Read(t.Context(), w.doctor, "TREAT", &bent)
	if !errors.Is(err, records.ErrBroken) || got != nil {
		t.Errorf("Open() = %v, %v, want ErrBroken", got, err)
	}
	w.NoLie()
}

// A store that hands out another payload is stopped by the digest in the log,
// before anything is released.
func TestEnvelopeAlteredInTheStoreIsNotReleased(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	o, e := w.Ask(w.doctor, "TREAT", w.envelope)
	digest := w.envelope.Digest()
	bent := *w.envelope
	bent.Payload = append([]byte(nil), bent.Payload...)
	bent.Payload[100] ^= 1
	if bent.Digest() == digest {
		t.Fatal("the digest does not cover the payload")
	}
	altered, logged := w.Ask(w.doctor, "TREAT", &bent)
	logged.Resources = e.Resources // what the index and the log know
	_, err := w.OpenAs(t.Context(), altered, logged)
	if refused, ok := errors.AsType[*records.RefusedError](err); !ok || refused.Reason != records.RefusedBad {
		t.Errorf("Open() = %v, want it refused as %s", err, records.RefusedBad)
	}
	if _, err := w.OpenAs(t.Context(), o, e); err != nil {
		t.Error(err)
	}
}

func TestPrepareRefusesWhatNoEntryCouldPermit(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	other := observation(t, "o9", "Patient/p9")
	foreign := w.SealAs(other, attributes(other, "Patient/p9"), 1)
	elsewhere := *w.envelope
	elsewhere.Leaves = []records.Leaf{{Committee: "others", Ciphertext: w.envelope.Leaves[0].Ciphertext}}
	for name, envelopes := range map[string][]*records.Envelope{
		"nothing":           nil,
		"two patients":      {w.envelope, foreign},
		"another committee": {&elsewhere},
		"too many":          repeat(w.envelope, records.MaxItems+1),
	} {
		if _, err := w.Quorum.Prepare(records.Asking{SignIn: w.doctor.SignIn, Action: "read", Purpose: "TREAT"}, envelopes); err == nil {
			t.Errorf("%s: prepared", name)
		}
	}
	if _, err := w.Quorum.Prepare(records.Asking{Scopes: repeat("user/*.rs", 1000)}, []*records.Envelope{w.envelope}); err == nil {
		t.Error("a thousand scopes: prepared")
	}
}

func repeat[T any](v T, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// A page as large as they come is one request.
func TestLargestPageOpensAsOneRequest(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	got, err := w.Read(t.Context(), w.doctor, "TREAT", repeat(w.envelope, records.MaxItems)...)
	if err != nil || len(got) != records.MaxItems {
		t.Errorf("%d resources, %v", len(got), err)
	}
}

// A custodian whose disk fails keeps nothing, and answers nothing.
func TestCustodianThatCannotStoreReleasesNothing(t *testing.T) {
	w := newWard(t, recordstest.Options{Quorum: func(c *records.QuorumConfig) { c.Timeout, c.Follow, c.Heartbeat = patience, time.Hour, time.Hour }})
	w.opens(t)
	for _, c := range w.Custodians[:2] {
		c.Store().(*chaintest.Store).FailNext(errors.New("no space left on device"))
	}
	got, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
	if !errors.Is(err, records.ErrTooFewShares) || got != nil {
		t.Errorf("Open() = %v, %v, want ErrTooFewShares", got, err)
	}
	w.Eventually(func() bool {
		_, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
		return err == nil
	})
}

// A log that lost entries which custodians hold is not served.
func TestCustodiansAheadOfTheLogAreNotTakenForFollowers(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	if err := w.Quorum.Cosigned(t.Context(), w.Log.Size()-1); err != nil {
		t.Fatal(err)
	}
	restored := &shorter{Source: w.Log, size: 3}
	batch, err := w.Log.Batch(t.Context(), 0, 1) // the genesis alone, and its checkpoint
	if err != nil {
		t.Fatal(err)
	}
	restored.size, restored.checkpoint = batch.End(), batch.Checkpoint
	config := records.QuorumConfig{Committee: w.Committee, Source: restored, Keys: map[int]string{}, Timeout: 300 * time.Millisecond}
	for _, c := range w.Custodians {
		config.Custodians = append(config.Custodians, c)
		config.Keys[c.Index()] = c.Inner().VerifierKey()
	}
	q, err := records.NewQuorum(config)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.Cosigned(t.Context(), 0); !errors.Is(err, records.ErrTooFewShares) {
		t.Errorf("Cosigned() = %v, want ErrTooFewShares", err)
	}
	if s := q.Status()[0]; s.Reachable || !strings.Contains(s.LastError, "backup") {
		t.Errorf("status %+v", s)
	}
}

// shorter is the log as an old backup has it.
type shorter struct {
	records.Source
	size       uint64
	checkpoint []byte
}

func (s *shorter) Size() uint64 { return s.size }

func (s *shorter) Batch(context.Context, uint64, int) (chain.Batch, error) {
	return chain.Batch{First: s.size, Checkpoint: s.checkpoint}, nil
}

func TestQuorumThatCouldNotWorkIsRefused(t *testing.T) {
	h := recordstest.New(t, recordstest.Options{})
	good := func() records.QuorumConfig {
		c := records.QuorumConfig{Committee: h.Committee, Source: h.Log, Keys: map[int]string{}}
		for _, custodian := range h.Custodians {
			c.Custodians = append(c.Custodians, custodian)
			c.Keys[custodian.Index()] = custodian.Inner().VerifierKey()
		}
		return c
	}
	registry := prometheus.NewRegistry()
	c := good()
	c.Metrics = registry
	q, err := records.NewQuorum(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(*records.QuorumConfig){
		"no committee":       func(c *records.QuorumConfig) { c.Committee = nil },
		"no source":          func(c *records.QuorumConfig) { c.Source = nil },
		"too few custodians": func(c *records.QuorumConfig) { c.Custodians = c.Custodians[:2] },
		"one twice":          func(c *records.QuorumConfig) { c.Custodians[1] = c.Custodians[0] },
		"no key":             func(c *records.QuorumConfig) { delete(c.Keys, 2) },
		"a key that is none": func(c *records.QuorumConfig) { c.Keys[2] = "custodian-2+00000000+AAAA" },
		"a long lifetime":    func(c *records.QuorumConfig) { c.Lifetime = time.Minute },
		"a negative timeout": func(c *records.QuorumConfig) { c.Timeout = -1 },
		"metrics twice":      func(c *records.QuorumConfig) { c.Timeout, c.Metrics = patience, registry },
		"a loose committee": func(c *records.QuorumConfig) {
			loose := *c.Committee
			loose.F = 3
			c.Committee = &loose
		},
	} {
		c := good()
		bend(&c)
		if q, err := records.NewQuorum(c); err == nil {
			t.Errorf("%s: there is a quorum", name)
			_ = q.Close()
		}
	}
}

func TestMetricsCountWhatHappened(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWard(t, recordstest.Options{Quorum: func(c *records.QuorumConfig) { c.Timeout, c.Metrics = patience, registry }})
	w.opens(t)
	stranger := w.SignIn(nurse, "nurse")
	if _, err := w.Read(t.Context(), stranger, "TREAT", w.envelope); err == nil {
		t.Fatal("the nurse reads")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				seen[f.GetName()+"/"+l.GetName()+"="+l.GetValue()] = true
			}
		}
	}
	for _, want := range []string{"records_open_seconds/outcome=opened", "records_open_seconds/outcome=refused", "records_round_seconds/custodian=1", "records_refusals_total/reason=no-consent"} {
		if !seen[want] {
			t.Errorf("%s is not counted: %v", want, seen)
		}
	}
}
