package chain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

// verify recomputes the whole tree from the records and checks the newest
// checkpoint, every body and every inclusion proof against it.
func verify(t *testing.T, l interface {
	Batch(context.Context, uint64, int) (chain.Batch, error)
	Body(context.Context, uint64) (*chain.Body, error)
	Proof(context.Context, uint64, uint64) (tlog.RecordProof, error)
	Size() uint64
	Checkpoint() []byte
}, s *chaintest.Setup) {
	t.Helper()
	c, _, err := chain.OpenCheckpoint(l.Checkpoint(), s.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	if c.Size != l.Size() {
		t.Fatalf("checkpoint of size %d, log of %d", c.Size, l.Size())
	}
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	seqs := make(map[string]uint64)
	for at := uint64(0); at < c.Size; {
		b, err := l.Batch(t.Context(), at, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range b.Records {
			more, err := tlog.StoredHashes(int64(at)+int64(i), r.Leaf[:], reader)
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, more...)
			proof, err := l.Proof(t.Context(), at+uint64(i), c.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckRecord(proof, int64(c.Size), c.Root, int64(at)+int64(i), r.Leaf.Hash()); err != nil {
				t.Fatalf("entry %d: %v", at+uint64(i), err)
			}
			body, err := l.Body(t.Context(), at+uint64(i))
			if err != nil {
				t.Fatal(err)
			}
			if seqs[body.Patient]++; body.Seq != seqs[body.Patient] {
				t.Fatalf("entry %d: sequence %d of %q, want %d", at, body.Seq, body.Patient, seqs[body.Patient])
			}
		}
		at = b.End()
	}
	if root, err := tlog.TreeHash(int64(c.Size), reader); err != nil || root != c.Root {
		t.Fatalf("root differs at size %d: %v", c.Size, err)
	}
}

func TestALogVerifiesAfterEveryCall(t *testing.T) {
	l, _, s := chaintest.New(t)
	for n := range 30 {
		var entries []chain.Entry
		for i := range n%4 + 1 {
			entries = append(entries, chaintest.Entry(fmt.Sprintf("Patient/%d", i)))
		}
		receipts := chaintest.Append(t, l, entries...)
		for i, r := range receipts {
			if r.Index != receipts[0].Index+uint64(i) || r.Size != l.Size() || r.Root != l.Root() {
				t.Errorf("receipt %+v of a log of %d", r, l.Size())
			}
		}
		verify(t, l, s)
	}
}

func TestAppliedBeforeAppendReturns(t *testing.T) {
	s, store := chaintest.NewSetup(t, "log", 0), chaintest.NewStore()
	var applied []uint64
	c := s.Config(store)
	c.Apply = func(index uint64, b *chain.Body) { applied = append(applied, index) }
	l, err := chain.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	receipt := chaintest.Append(t, l, chaintest.Entry("Patient/a"))[0]
	if len(applied) != 2 || applied[1] != receipt.Index {
		t.Errorf("applied %v when Append returned %d", applied, receipt.Index)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	applied = nil
	if l, err = chain.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if len(applied) != 2 {
		t.Errorf("applied %v on opening", applied)
	}
}

func TestConcurrentCallsShareBatchesAndStayContiguous(t *testing.T) {
	synctest.Test(t, concurrentCallsShareBatchesAndStayContiguous)
}

func concurrentCallsShareBatchesAndStayContiguous(t *testing.T) {
	l, store, s := chaintest.New(t)
	arrived, release := store.Slow()
	var wg sync.WaitGroup
	calls := make([][]chain.Receipt, 40)
	start := func(i int) {
		wg.Go(func() {
			receipts, err := l.Append(context.Background(), chaintest.Entry("Patient/a"), chaintest.Entry(fmt.Sprintf("Patient/%d", i)))
			if err != nil {
				t.Error(err)
			}
			calls[i] = receipts
		})
	}
	before := store.Appends()
	start(0)
	<-arrived
	for i := 1; i < len(calls); i++ {
		start(i)
	}
	synctest.Wait()
	release()
	wg.Wait()
	if got := store.Appends() - before; got != 2 {
		t.Errorf("%d batches, want the first call's and one for all that waited", got)
	}
	seen := make(map[uint64]bool)
	for _, r := range calls {
		if r[1].Index != r[0].Index+1 {
			t.Errorf("a call was divided: %d, %d", r[0].Index, r[1].Index)
		}
		seen[r[0].Index], seen[r[1].Index] = true, true
	}
	if len(seen) != 2*len(calls) {
		t.Errorf("%d indexes for %d entries", len(seen), 2*len(calls))
	}
	verify(t, l, s)
}

func TestNothingIsVisibleWhenTheStoreFails(t *testing.T) {
	broken := errors.New("disk on fire")
	for name, fails := range map[string]int{"writing keys": 1, "writing the batch": 2} {
		t.Run(name, func(t *testing.T) {
			l, store, s := chaintest.New(t)
			chaintest.Append(t, l, chaintest.Entry("Patient/old"))
			size, checkpoint, grown := l.Size(), l.Checkpoint(), l.Grown()
			entry := chaintest.Entry("Patient/new")
			if fails == 2 { // the keys are written, the batch is not
				entry = chaintest.Entry("Patient/old")
			}
			store.FailNext(broken)
			_, err := l.Append(t.Context(), entry)
			if !errors.Is(err, chain.ErrUnavailable) || !errors.Is(err, broken) {
				t.Fatalf("Append() = %v", err)
			}
			select {
			case <-grown:
				t.Error("the log said it had grown")
			default:
			}
			if l.Size() != size || string(l.Checkpoint()) != string(checkpoint) || len(l.ByPatient("Patient/new")) != 0 {
				t.Error("something of a failed append is visible")
			}
			chaintest.Append(t, l, chaintest.Entry("Patient/new"), entry)
			verify(t, l, s)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			verify(t, s.Open(t, store), s)
		})
	}
}

func TestAKeyOutlivesTheBatchItWasDrawnFor(t *testing.T) {
	l, store, s := chaintest.New(t)
	store.FailNext(nil)
	store.FailNext(errors.New("no space"))
	if _, err := l.Append(t.Context(), chaintest.Entry("Patient/a")); !errors.Is(err, chain.ErrUnavailable) {
		t.Fatalf("Append() = %v", err)
	}
	keys := l.Keys(0)
	if len(keys) != 2 {
		t.Fatalf("%d keys", len(keys))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = s.Open(t, store)
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	if got := l.Keys(0); len(got) != 2 || got[1].ID != keys[1].ID {
		t.Errorf("%d keys: the unused one was not used", len(got))
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	s, store := chaintest.NewSetup(t, "log", 0), chaintest.NewStore()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	l := s.Open(t, store)
	first := chaintest.Append(t, l, chaintest.Entry("Patient/a"))[0]
	now = now.Add(-time.Hour)
	second := chaintest.Append(t, l, chaintest.Entry("Patient/a"))[0]
	if second.Time.Before(first.Time) {
		t.Errorf("%v after %v", second.Time, first.Time)
	}
	_ = l.Close()
	l = s.Open(t, store)
	third := chaintest.Append(t, l, chaintest.Entry("Patient/a"))[0]
	if third.Time.Before(second.Time) {
		t.Errorf("%v after %v, opened again", third.Time, second.Time)
	}
	verify(t, l, s)
}

func TestCloseWritesDownWhatWaits(t *testing.T) {
	synctest.Test(t, closeWritesDownWhatWaits)
}

func closeWritesDownWhatWaits(t *testing.T) {
	l, store, _ := chaintest.New(t)
	arrived, release := store.Slow()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := l.Append(context.Background(), chaintest.Entry("Patient/a")); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	synctest.Wait()
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	release()
	wg.Wait()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if store.Size() != 11 {
		t.Errorf("%d entries stored", store.Size())
	}
	if _, err := l.Append(t.Context(), chaintest.Entry("Patient/a")); !errors.Is(err, chain.ErrClosed) || !errors.Is(err, chain.ErrUnavailable) {
		t.Errorf("Append() after Close = %v", err)
	}
}

func TestACallThatStillWaitsIsWithdrawn(t *testing.T) {
	synctest.Test(t, aCallThatStillWaitsIsWithdrawn)
}

func aCallThatStillWaitsIsWithdrawn(t *testing.T) {
	l, store, _ := chaintest.New(t)
	arrived, release := store.Slow()
	defer release()
	first := make(chan error)
	go func() {
		_, err := l.Append(context.Background(), chaintest.Entry("Patient/a"))
		first <- err
	}()
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() {
		_, err := l.Append(ctx, chaintest.Entry("Patient/b"))
		second <- err
	}()
	synctest.Wait()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("Append() = %v", err)
	}
	release()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if l.Size() != 2 {
		t.Errorf("%d entries", l.Size())
	}
}

func TestLimits(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	c := s.Config(chaintest.NewStore())
	c.Limits = chain.Limits{EntryBytes: 2048, CallBytes: 4096, Queue: 4, BatchBytes: 4096}
	l, err := chain.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	big := chaintest.Entry("Patient/a")
	big.Statement = make([]byte, 2048)
	half := chaintest.Entry("Patient/a")
	half.Statement = make([]byte, 1500)
	odd := chaintest.Entry("Patient/a")
	odd.Resources[0].Digest = []byte("short")
	for name, tc := range map[string]struct {
		entries []chain.Entry
		want    error
	}{
		"entry too large":     {[]chain.Entry{big}, chain.ErrTooLarge},
		"call too large":      {[]chain.Entry{half, half, half}, chain.ErrTooLarge},
		"queue too short":     {[]chain.Entry{chaintest.Entry("a"), chaintest.Entry("b"), chaintest.Entry("c"), chaintest.Entry("d"), chaintest.Entry("e")}, chain.ErrOverloaded},
		"unknown kind":        {[]chain.Entry{{Kind: "gossip"}}, chain.ErrInvalid},
		"no kind":             {[]chain.Entry{{}}, chain.ErrInvalid},
		"not text":            {[]chain.Entry{{Kind: chain.Admin, Actor: "\xff"}}, chain.ErrInvalid},
		"digest":              {[]chain.Entry{odd}, chain.ErrInvalid},
		"patient id":          {[]chain.Entry{chaintest.Entry(strings.Repeat("p", 129))}, chain.ErrInvalid},
		"decision":            {[]chain.Entry{{Kind: chain.Access, Decision: "maybe"}}, chain.ErrInvalid},
		"tenant erased":       {[]chain.Entry{{Kind: chain.Erase}}, chain.ErrInvalid},
		"scopes are not text": {[]chain.Entry{{Kind: chain.Admin, Scopes: []string{"user/*.rs", "\xff"}}}, chain.ErrInvalid},
		"context is not text": {[]chain.Entry{{Kind: chain.Admin, Context: "\xff"}}, chain.ErrInvalid},
		"too many scopes":     {[]chain.Entry{{Kind: chain.Admin, Scopes: make([]string, chain.MaxScopes+1)}}, chain.ErrInvalid},
		"a scope too long":    {[]chain.Entry{{Kind: chain.Admin, Scopes: []string{strings.Repeat("s", chain.MaxScopeBytes+1)}}}, chain.ErrInvalid},
		"context too long":    {[]chain.Entry{{Kind: chain.Admin, Context: strings.Repeat("c", chain.MaxContextBytes+1)}}, chain.ErrInvalid},
		"one good, one bad":   {[]chain.Entry{chaintest.Entry("a"), {}}, chain.ErrInvalid},
		"several are allowed": {[]chain.Entry{half, half}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := l.Size()
			_, err := l.Append(t.Context(), tc.entries...)
			if !errors.Is(err, tc.want) {
				t.Errorf("Append() = %v, want %v", err, tc.want)
			}
			if err != nil && l.Size() != before {
				t.Error("something was appended")
			}
		})
	}
	for _, limits := range []chain.Limits{{EntryBytes: -1}, {EntryBytes: chain.MaxBodyBytes + 1}, {CallBytes: 10}, {BatchBytes: 1 << 30}} {
		c.Limits = limits
		if _, err := chain.Open(t.Context(), c); err == nil {
			t.Errorf("limits %+v were taken", limits)
		}
	}
}

func TestErasedIsUnreadableAndTheTreeStays(t *testing.T) {
	l, store, s := chaintest.New(t)
	chaintest.Append(t, l, chaintest.Entry("Patient/a"), chaintest.Entry("Patient/b"))
	if err := l.Erase(t.Context(), "Patient/a"); !errors.Is(err, chain.ErrNotErasable) {
		t.Fatalf("Erase() without an entry = %v", err)
	}
	chaintest.Append(t, l, chain.Entry{Kind: chain.Erase, Patient: "Patient/a"})
	if err := l.Erase(t.Context(), "Patient/a"); !errors.Is(err, chain.ErrNotErasable) {
		t.Fatalf("Erase() with nothing to go on from = %v", err)
	}
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	if err := l.Erase(t.Context(), "Patient/a"); err != nil {
		t.Fatal(err)
	}
	for _, log := range []*chain.Log{l, func() *chain.Log { _ = l.Close(); return s.Open(t, store) }()} {
		if _, err := log.Body(t.Context(), 1); !errors.Is(err, chain.ErrErased) {
			t.Errorf("Body() of an erased patient = %v", err)
		}
		if b, err := log.Body(t.Context(), 2); err != nil || b.Patient != "Patient/b" {
			t.Errorf("Body() of another patient = %v", err)
		}
		if b, err := log.Body(t.Context(), 4); err != nil || b.Seq != 3 || b.Prev != 3 || len(b.Key) != 32 {
			t.Errorf("Body() after the erasure = %+v, %v", b, err)
		}
		if got := log.ByPatient("Patient/a"); len(got) != 1 || got[0] != 4 {
			t.Errorf("ByPatient() = %v", got)
		}
		keys := log.Keys(0)
		if !keys[1].Erased() || keys[1].Patient != "" || keys[1].ID == (chain.KeyID{}) {
			t.Errorf("erased key %v of %q", keys[1].ID, keys[1].Patient)
		}
		if err := tlogRoot(t, log, s); err != nil {
			t.Error(err)
		}
	}
}

// A patient's numbers go on under the next key, in the log and whoever copies
// or reloads it: an erase entry does not begin them anew.
func TestAPatientsNumbersGoOnFromKeyToKey(t *testing.T) {
	l, store, s := chaintest.New(t)
	a, erase := chaintest.Entry("Patient/a"), chain.Entry{Kind: chain.Erase, Patient: "Patient/a"}
	chaintest.Append(t, l, a, a, erase, a, chaintest.Entry("Patient/b")) // all in one batch
	chaintest.Append(t, l, erase)
	chaintest.Append(t, l, a)
	r := s.Replica(t, chaintest.NewStore())
	chaintest.Follow(t, l, r)
	type bodies interface {
		Body(context.Context, uint64) (*chain.Body, error)
	}
	follow := func(log bodies, from int) {
		t.Helper()
		for i, want := range []struct{ index, prev uint64 }{{1, 0}, {2, 1}, {3, 2}, {4, 3}, {6, 4}, {7, 6}, {8, 7}}[from:] {
			body, err := log.Body(t.Context(), want.index)
			if err != nil {
				t.Fatal(err)
			}
			first := slices.Contains([]uint64{1, 4, 7}, want.index)
			if body.Seq != uint64(from+i)+1 || body.Prev != want.prev || (len(body.Key) == 32) != first {
				t.Errorf("entry %d: number %d after %d, commitment of %d bytes", want.index, body.Seq, body.Prev, len(body.Key))
			}
		}
	}
	chaintest.Append(t, l, a)
	chaintest.Follow(t, l, r)
	verify(t, l, s)
	follow(l, 0)
	follow(r, 0)
	if err := l.Erase(t.Context(), "Patient/a"); err != nil { // all keys but the last
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = s.Open(t, store)
	chaintest.Append(t, l, a)
	body, err := l.Body(t.Context(), 9)
	if err != nil || body.Seq != 8 || body.Prev != 8 || len(body.Key) != 0 {
		t.Errorf("after a restart: %+v, %v", body, err)
	}
	follow(l, 5)
}

func tlogRoot(t *testing.T, l *chain.Log, s *chaintest.Setup) error {
	c, _, err := chain.OpenCheckpoint(l.Checkpoint(), s.Verifier)
	if err != nil {
		return err
	}
	for index := range c.Size {
		b, err := l.Batch(t.Context(), index, 1)
		if err != nil {
			return err
		}
		proof, err := l.Proof(t.Context(), index, c.Size)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, int64(c.Size), c.Root, int64(index), b.Records[0].Leaf.Hash()); err != nil {
			return err
		}
	}
	return nil
}

func TestAStoreThatWasTamperedWithIsRefused(t *testing.T) {
	for name, edit := range map[string]func([]chain.Batch) []chain.Batch{
		"a leaf":       func(b []chain.Batch) []chain.Batch { b[3].Records[0].Leaf[5] ^= 1; return b },
		"a ciphertext": func(b []chain.Batch) []chain.Batch { b[3].Records[0].Body[20] ^= 1; return b },
		"a key id":     func(b []chain.Batch) []chain.Batch { b[3].Records[0].Key[0] ^= 1; return b },
		"reordered": func(b []chain.Batch) []chain.Batch {
			b[3].Records[0], b[3].Records[1] = b[3].Records[1], b[3].Records[0]
			return b
		},
		"a checkpoint": func(b []chain.Batch) []chain.Batch { b[3].Checkpoint = b[2].Checkpoint; return b },
		"a signature": func(b []chain.Batch) []chain.Batch {
			n := len(b) - 1
			b[n].Checkpoint[len(b[n].Checkpoint)-10] ^= 1
			return b
		},
		"the end cut":  func(b []chain.Batch) []chain.Batch { return b[:len(b)-1] },
		"all cut":      func(b []chain.Batch) []chain.Batch { return nil },
		"a batch gone": func(b []chain.Batch) []chain.Batch { return append(b[:2], b[3:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			l, store, s := chaintest.New(t)
			chaintest.Fill(t, l, 30)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			store.Edit(edit)
			l, err := chain.Open(t.Context(), s.Config(store))
			if err == nil {
				_ = l.Close()
				t.Fatal("opened")
			}
			t.Log(err)
		})
	}
}

func TestOpenRefusesAnotherLogsStore(t *testing.T) {
	l, store, _ := chaintest.New(t)
	_ = l.Close()
	if _, err := chain.Open(t.Context(), chaintest.NewSetup(t, "another", 0).Config(store)); err == nil {
		t.Error("opened with another key")
	}
	if _, err := chain.Open(t.Context(), chaintest.NewSetup(t, t.Name(), 2).Config(store)); err == nil {
		t.Error("opened with other custodians")
	}
}

func TestByPatientFollowsTheBackwardChain(t *testing.T) {
	l, _, _ := chaintest.New(t)
	chaintest.Fill(t, l, 400)
	for _, patient := range []string{"", "Patient/p-1", "Patient/p-4"} {
		indexes := l.ByPatient(patient)
		if len(indexes) == 0 {
			t.Fatalf("nothing of %q", patient)
		}
		for i, index := range indexes {
			b, err := l.Body(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			if b.Patient != patient || b.Seq != uint64(i+1) || i > 0 && b.Prev != indexes[i-1] {
				t.Fatalf("entry %d: %q %d after %d", index, b.Patient, b.Seq, b.Prev)
			}
		}
	}
	if l.ByPatient("Patient/nobody") != nil {
		t.Error("entries of nobody")
	}
	if _, err := l.Body(t.Context(), l.Size()); !errors.Is(err, chain.ErrBeyond) {
		t.Errorf("Body() beyond the end = %v", err)
	}
}

func TestGrownWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := chaintest.New(t)
		woken := make(chan uint64)
		go func() {
			<-l.Grown()
			woken <- l.Size()
		}()
		synctest.Wait()
		chaintest.Append(t, l, chaintest.Entry("Patient/a"))
		if got := <-woken; got != 2 {
			t.Errorf("size %d", got)
		}
	})
}

func TestMetricsCountAndLeave(t *testing.T) {
	s, registry := chaintest.NewSetup(t, "log", 0), prometheus.NewRegistry()
	for range 2 { // a second log may follow the first on one registry
		c := s.Config(chaintest.NewStore())
		c.Metrics = registry
		l, err := chain.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		families, err := registry.Gather()
		if err != nil || len(families) != 6 {
			t.Errorf("%d families, %v", len(families), err)
		}
		if _, err := chain.Open(t.Context(), c); err == nil {
			t.Error("two logs on one registry")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
