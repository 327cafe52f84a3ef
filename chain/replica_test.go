package chain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

func extend(ctx context.Context, l *chain.Log, r *chain.Replica, b chain.Batch) error {
	from := r.KeyCount()
	return r.Extend(ctx, l.Keys(from), from, b)
}

func next(t *testing.T, l *chain.Log, from uint64, maxBytes int) chain.Batch {
	t.Helper()
	b, err := l.Batch(t.Context(), from, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAReplicaFollowsAndVerifies(t *testing.T) {
	l, _, s := chaintest.New(t)
	store := chaintest.NewStore()
	r := s.Replica(t, store)
	for range 5 {
		chaintest.Fill(t, l, 90)
		chaintest.Follow(t, l, r)
		if r.Size() != l.Size() || r.Root() != l.Root() || r.KeyCount() != uint64(len(l.Keys(0))) {
			t.Fatalf("%d entries of %d", r.Size(), l.Size())
		}
	}
	verify(t, r, s)
	if !slices.Equal(r.ByPatient("Patient/p-2"), l.ByPatient("Patient/p-2")) {
		t.Error("another list of a patient's entries")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	again := s.Replica(t, store)
	verify(t, again, s)
	if !again.Info().Equal(l.Info()) {
		t.Error("another description")
	}
}

func TestAReplicaAppliesInOrderAndOnce(t *testing.T) {
	l, _, s := chaintest.New(t)
	chaintest.Fill(t, l, 50)
	var applied []uint64
	c := chain.ReplicaConfig{Store: chaintest.NewStore(), Verifier: s.Verifier, Apply: func(index uint64, b *chain.Body) { applied = append(applied, index) }}
	r, err := chain.OpenReplica(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var sent []chain.Batch
	for at := uint64(0); at < l.Size(); {
		b := next(t, l, at, 1)
		sent = append(sent, b)
		if err := extend(t.Context(), l, r, b); err != nil {
			t.Fatal(err)
		}
		at = b.End()
	}
	for _, b := range sent { // all of it again
		if err := r.Extend(t.Context(), l.Keys(0), 0, b); err != nil {
			t.Fatal(err)
		}
	}
	for i, index := range applied {
		if index != uint64(i) {
			t.Fatalf("applied %v", applied)
		}
	}
	if len(applied) != int(l.Size()) {
		t.Errorf("%d applied of %d", len(applied), l.Size())
	}
}

func TestCallsMayOvertakeEachOther(t *testing.T) {
	l, _, s := chaintest.New(t)
	chaintest.Fill(t, l, 20)
	r := s.Replica(t, chaintest.NewStore())
	first := next(t, l, 0, 1)
	if err := extend(t.Context(), l, r, first); err != nil {
		t.Fatal(err)
	}
	short := next(t, l, r.Size(), 1)
	long := next(t, l, r.Size(), 0)
	var wg sync.WaitGroup
	for _, b := range []chain.Batch{long, short, first, long, short} {
		wg.Go(func() {
			if err := r.Extend(context.Background(), l.Keys(0), 0, b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r.Root() != l.Root() {
		t.Error("another root")
	}
	overlapping := next(t, l, 3, 0)
	chaintest.Fill(t, l, 10)
	overlapping = chain.Batch{First: 3, Records: append(overlapping.Records, next(t, l, r.Size(), 0).Records...), Checkpoint: l.Checkpoint()}
	if err := extend(t.Context(), l, r, overlapping); err != nil {
		t.Fatal(err)
	}
	verify(t, r, s)
}

func TestAGapIsNamed(t *testing.T) {
	l, _, s := chaintest.New(t)
	chaintest.Fill(t, l, 30)
	r := s.Replica(t, chaintest.NewStore())
	gap := func(err error) *chain.GapError {
		t.Helper()
		e, ok := errors.AsType[*chain.GapError](err)
		if !ok {
			t.Fatalf("Extend() = %v", err)
		}
		return e
	}
	late := next(t, l, 10, 0)
	if e := gap(extend(t.Context(), l, r, late)); e.Have != 0 || e.Keys != 0 || e.Ours != nil || string(e.Theirs) != string(late.Checkpoint) {
		t.Errorf("%+v", e)
	}
	if err := extend(t.Context(), l, r, next(t, l, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if e := gap(extend(t.Context(), l, r, late)); e.Have != 1 || string(e.Ours) != string(r.Checkpoint()) {
		t.Errorf("%+v", e)
	}
	keys := r.KeyCount()
	if e := gap(r.Extend(t.Context(), nil, keys+1, next(t, l, 1, 0))); e.Keys != keys {
		t.Errorf("%+v", e)
	}
	chaintest.Follow(t, l, r)
	chaintest.Append(t, l, chaintest.Entry("Patient/new"))
	if e := gap(r.Extend(t.Context(), nil, r.KeyCount(), next(t, l, r.Size(), 0))); e.Have != r.Size() {
		t.Errorf("batch without its keys: %+v", e)
	}
	chaintest.Follow(t, l, r)
}

func TestAForkIsProvenByBothCheckpoints(t *testing.T) {
	l, store, s := chaintest.New(t)
	chaintest.Fill(t, l, 20)
	r := s.Replica(t, chaintest.NewStore())
	chaintest.Follow(t, l, r)
	backup := store.Copy()
	chaintest.Append(t, l, chaintest.Entry("Patient/p-1"))
	chaintest.Append(t, l, chaintest.Entry("Patient/p-1"))
	chaintest.Follow(t, l, r)

	restored := s.Open(t, backup) // the log goes on from an old backup
	rollback, ok := errors.AsType[*chain.RollbackError](restored.Compare(t.Context(), r.Checkpoint()))
	if !ok || rollback.Have != restored.Size() || rollback.Seen != r.Size() || rollback.Theirs == nil || rollback.Ours == nil {
		t.Fatalf("Compare() = %+v", rollback)
	}
	base := restored.Size()
	for range 3 {
		chaintest.Append(t, restored, chaintest.Entry("Patient/p-2"))
		b := next(t, restored, base, 0)
		fork, ok := errors.AsType[*chain.ForkError](extend(t.Context(), restored, r, b))
		if !ok {
			t.Fatal("another history was taken")
		}
		for _, checkpoint := range [][]byte{fork.Ours, fork.Theirs} {
			if _, _, err := chain.OpenCheckpoint(checkpoint, s.Verifier); err != nil {
				t.Error(err)
			}
		}
	}
	if _, ok := errors.AsType[*chain.ForkError](restored.Compare(t.Context(), r.Checkpoint())); !ok {
		t.Error("Compare() finds no fork")
	}
	if err := l.Compare(t.Context(), next(t, l, 3, 1).Checkpoint); err != nil {
		t.Errorf("Compare() with an older checkpoint = %v", err)
	}
	if r.Root() != l.Root() {
		t.Error("the replica changed")
	}
}

func TestAReplicaRefusesWhatBreaksTheRules(t *testing.T) {
	s := chaintest.NewSetup(t, t.Name(), 0)
	other := chaintest.NewSetup(t, "another log", 0)
	for name, edit := range map[string]func(t *testing.T, b *chain.Batch, keys []chain.LogKey){
		"a leaf":           func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Records[1].Leaf[3] ^= 1 },
		"a leaf's version": func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Records[1].Leaf[0] = 2 },
		"a ciphertext": func(t *testing.T, b *chain.Batch, _ []chain.LogKey) {
			b.Records[1].Body = slices.Clone(b.Records[1].Body)
			b.Records[1].Body[40] ^= 1
		},
		"a nonce": func(t *testing.T, b *chain.Batch, _ []chain.LogKey) {
			b.Records[1].Body = slices.Clone(b.Records[1].Body)
			b.Records[1].Body[0] ^= 1
		},
		"a body gone": func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Records[1].Body = nil },
		"a key id":    func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Records[1].Key[0] ^= 1 },
		"order": func(t *testing.T, b *chain.Batch, _ []chain.LogKey) {
			b.Records[1], b.Records[2] = b.Records[2], b.Records[1]
		},
		"a record less":      func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Records = b.Records[:len(b.Records)-1] },
		"a record doubled":   func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Records = append(b.Records, b.Records[1]) },
		"another place":      func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.First++ },
		"no checkpoint":      func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Checkpoint = nil },
		"a signature":        func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Checkpoint[len(b.Checkpoint)-9] ^= 1 },
		"another log's sign": func(t *testing.T, b *chain.Batch, _ []chain.LogKey) { b.Checkpoint = resign(t, b.Checkpoint, s, other) },
		"an erased key": func(t *testing.T, b *chain.Batch, keys []chain.LogKey) {
			for i := range keys {
				keys[i] = chain.LogKey{ID: keys[i].ID}
			}
		},
		"a wrong key":  func(t *testing.T, b *chain.Batch, keys []chain.LogKey) { keys[1].Key = chain.NewSecret() },
		"a wrong name": func(t *testing.T, b *chain.Batch, keys []chain.LogKey) { keys[1].Patient = "Patient/somebody" },
		"doubled keys": func(t *testing.T, b *chain.Batch, keys []chain.LogKey) { keys[1] = keys[2] },
	} {
		t.Run(name, func(t *testing.T) {
			l := s.Open(t, chaintest.NewStore())
			chaintest.Fill(t, l, 20)
			store := chaintest.NewStore()
			r := s.Replica(t, store)
			b, keys := next(t, l, 0, 0), l.Keys(0)
			b.Checkpoint = slices.Clone(b.Checkpoint)
			edit(t, &b, keys)
			if err := r.Extend(t.Context(), keys, 0, b); err == nil {
				t.Fatal("taken over")
			} else {
				t.Log(err)
			}
			if r.Size() != 0 || r.KeyCount() != 0 || store.Size() != 0 {
				t.Error("something of it was kept")
			}
			chaintest.Follow(t, l, r)
			verify(t, r, s)
		})
	}
}

func resign(t *testing.T, checkpoint []byte, from, by *chaintest.Setup) []byte {
	t.Helper()
	c, _, err := chain.OpenCheckpoint(checkpoint, from.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := c.Sign(by.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// forge makes a batch as a lying sequencer would: well signed, with bodies of
// its own making.
func forge(t *testing.T, s *chaintest.Setup, l *chain.Log, edit func(bodies []*chain.Body, keys []chain.LogKey) []chain.LogKey) (chain.Batch, []chain.LogKey) {
	t.Helper()
	keys := l.Keys(0)
	var bodies []*chain.Body
	for index := range l.Size() {
		body, err := l.Body(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	under := edit(bodies, keys)
	for _, key := range under {
		if !slices.ContainsFunc(keys, func(k chain.LogKey) bool { return k.ID == key.ID }) {
			keys = append(keys, key)
		}
	}
	b := chain.Batch{}
	var leaves []chain.Leaf
	for i, body := range bodies {
		record, err := under[i].Seal(uint64(i), body)
		if err != nil {
			t.Fatal(err)
		}
		b.Records, leaves = append(b.Records, record), append(leaves, record.Leaf)
	}
	var err error
	if b.Checkpoint, err = (chain.Checkpoint{Origin: chaintest.Origin, Size: b.End(), Root: chain.RootOf(leaves)}).Sign(s.Signer); err != nil {
		t.Fatal(err)
	}
	return b, keys
}

// rekeyed puts the patient of entry 3 under a key from here on that it has not
// been under, with an erase entry before, and edits the first body there. It
// needs a log of which entries 3 and 8 are of one patient, and none between.
func rekeyed(b []*chain.Body, under []chain.LogKey, edit func(*chain.Body)) []chain.LogKey {
	next, first := spare(b[3].Patient), true
	b[3].Kind = chain.Erase
	for i := 4; i < len(b); i++ {
		if b[i].Patient != b[3].Patient {
			continue
		}
		under[i] = next
		if first {
			commitment := next.Commitment()
			b[i].Key = commitment[:]
			edit(b[i])
		}
		first = false
	}
	return under
}

// spare is the same key whenever it is asked for.
func spare(patient string) chain.LogKey {
	return chain.LogKey{ID: chain.KeyID{1}, Patient: patient, Key: chain.SecretOf([32]byte{1})}
}

func TestALyingSequencerIsFoundOut(t *testing.T) {
	under := func(bodies []*chain.Body, keys []chain.LogKey) []chain.LogKey {
		out := make([]chain.LogKey, len(bodies))
		for i, b := range bodies {
			out[i] = keys[slices.IndexFunc(keys, func(k chain.LogKey) bool { return k.Patient == b.Patient })]
		}
		return out
	}
	for name, lie := range map[string]func(bodies []*chain.Body, keys []chain.LogKey) []chain.LogKey{
		"time goes back":        func(b []*chain.Body, k []chain.LogKey) []chain.LogKey { b[5].Time -= 1_000_000; return under(b, k) },
		"a number is missing":   func(b []*chain.Body, k []chain.LogKey) []chain.LogKey { b[8].Seq++; return under(b, k) },
		"a wrong entry before":  func(b []*chain.Body, k []chain.LogKey) []chain.LogKey { b[8].Prev--; return under(b, k) },
		"another patient's key": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey { u := under(b, k); u[8] = u[7]; return u },
		"a patient's entry gone": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			u := under(b, k)
			b[3] = b[7]
			u[3] = u[7]
			return u
		},
		"genesis of another log": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			b[0].Statement = []byte("{}")
			return under(b, k)
		},
		"an uncommitted key": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			b[2].Key = make([]byte, 32)
			return under(b, k)
		},
		"a commitment too many": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			u := under(b, k)
			commitment := u[8].Commitment()
			b[8].Key = commitment[:]
			return u
		},
		"numbers begin again": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			return rekeyed(b, under(b, k), func(b *chain.Body) { b.Seq, b.Prev = 1, 0 })
		},
		"numbers begin again, and name the entry before": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			return rekeyed(b, under(b, k), func(b *chain.Body) { b.Seq = 1 })
		},
		"another key without an erasure": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			u := rekeyed(b, under(b, k), func(*chain.Body) {})
			b[3].Kind = chain.Access
			return u
		},
		"no commitment": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey { b[2].Key = nil; return under(b, k) },
		"a second sequence": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			u := under(b, k)
			for i := range k { // p-1's later entries begin again under p-2's key, given to p-1
				if k[i].Patient == "Patient/p-2" {
					k[i].Patient = "Patient/p-1"
					commitment := k[i].Commitment()
					for j := range b {
						if b[j].Patient == "Patient/p-2" {
							b[j].Patient = "Patient/p-1"
							u[j] = k[i]
							if b[j].Seq == 1 {
								b[j].Key = commitment[:]
							}
						}
					}
				}
			}
			return u
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, s := chaintest.New(t)
			chaintest.Fill(t, l, 20)
			b, keys := forge(t, s, l, lie)
			err := s.Replica(t, chaintest.NewStore()).Extend(t.Context(), keys, 0, b)
			if _, ok := errors.AsType[*chain.RecordError](err); !ok {
				t.Fatalf("Extend() = %v", err)
			}
			t.Log(err)
		})
	}
	l, _, s := chaintest.New(t)
	chaintest.Fill(t, l, 20)
	for name, truth := range map[string]func(bodies []*chain.Body, keys []chain.LogKey) []chain.LogKey{
		"as it is": under,
		"with an erasure": func(b []*chain.Body, k []chain.LogKey) []chain.LogKey {
			return rekeyed(b, under(b, k), func(*chain.Body) {})
		},
	} {
		b, keys := forge(t, s, l, truth)
		if err := s.Replica(t, chaintest.NewStore()).Extend(t.Context(), keys, 0, b); err != nil {
			t.Errorf("%s: the truth was refused: %v", name, err)
		}
	}
}

func TestAReplicaWhoseStoreFailsStaysWhereItIs(t *testing.T) {
	l, _, s := chaintest.New(t)
	store := chaintest.NewStore()
	r := s.Replica(t, store)
	for i := range 10 {
		chaintest.Append(t, l, chaintest.Entry(fmt.Sprintf("Patient/%d", i)))
		size, root := r.Size(), r.Root()
		if i%2 == 0 {
			store.FailNext(nil) // the keys are written, the batch is not
		}
		store.FailNext(errors.New("disk on fire"))
		if err := extend(t.Context(), l, r, next(t, l, size, 0)); !errors.Is(err, chain.ErrUnavailable) {
			t.Fatalf("Extend() = %v", err)
		}
		if r.Size() != size || r.Root() != root {
			t.Fatal("the replica moved")
		}
		chaintest.Follow(t, l, r)
	}
	verify(t, r, s)
}

func TestAReplicaRefusesAnotherLog(t *testing.T) {
	l, _, _ := chaintest.New(t)
	chaintest.Fill(t, l, 3)
	store := chaintest.NewStore()
	r := chaintest.NewSetup(t, "another", 0).Replica(t, store)
	if err := extend(t.Context(), l, r, next(t, l, 0, 0)); err == nil || r.Size() != 0 {
		t.Errorf("Extend() = %v", err)
	}
	mine := chaintest.NewSetup(t, t.Name(), 0)
	chaintest.Follow(t, l, mine.Replica(t, store))
	if _, err := chain.OpenReplica(t.Context(), chain.ReplicaConfig{Store: store, Verifier: r.Verifier()}); err == nil {
		t.Error("opened with another log's key")
	}
}

func TestErasureAtAReplica(t *testing.T) {
	l, _, s := chaintest.New(t)
	store := chaintest.NewStore()
	r := s.Replica(t, store)
	chaintest.Append(t, l, chaintest.Entry("Patient/a"), chain.Entry{Kind: chain.Erase, Patient: "Patient/a"})
	chaintest.Append(t, l, chaintest.Entry("Patient/a")) // under a new key, which the replica follows before its own erasure
	chaintest.Follow(t, l, r)
	if err := l.Erase(t.Context(), "Patient/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Body(t.Context(), 1); err != nil {
		t.Errorf("not erased here yet: %v", err)
	}
	if err := r.Erase(t.Context(), "Patient/a"); err != nil {
		t.Errorf("Erase() = %v", err)
	}
	if err := r.Erase(t.Context(), "Patient/a"); !errors.Is(err, chain.ErrNotErasable) {
		t.Errorf("Erase() again = %v", err)
	}
	if _, err := r.Body(t.Context(), 2); !errors.Is(err, chain.ErrErased) {
		t.Errorf("Body() of what is erased = %v", err)
	}
	if b, err := r.Body(t.Context(), 3); err != nil || b.Seq != 3 {
		t.Errorf("Body() of what came later = %v", err)
	}
	if got := r.ByPatient("Patient/a"); !slices.Equal(got, []uint64{3}) {
		t.Errorf("ByPatient() = %v", got)
	}
	if err := r.Extend(t.Context(), l.Keys(0), 0, next(t, l, 0, 0)); err != nil {
		t.Errorf("keys that are erased there: %v", err)
	}
}
