package disk_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/chain/disk"
)

func open(t testing.TB, c disk.Config) *disk.Store {
	t.Helper()
	s, err := disk.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkAppend is one client's wait for a signed, durable entry, and what one
// write and fdatasync of as many bytes takes. The two alternate, so that they
// see the same disk; the ratio is that of the medians.
func BenchmarkAppend(b *testing.B) {
	dir := b.TempDir()
	l := chaintest.NewSetup(b, "bench", 0).Open(b, open(b, disk.Config{Dir: filepath.Join(dir, "log")}))
	entry := chaintest.Entry("Patient/a")
	chaintest.Append(b, l, entry)
	plain, err := disk.OS(dir).Open("plain", disk.ForWriting)
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	batch, err := l.Batch(b.Context(), l.Size()-1, 1)
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 28+53+len(batch.Records[0].Body)+len(batch.Checkpoint)+4)
	var appends, syncs []time.Duration
	for b.Loop() {
		start := time.Now()
		chaintest.Append(b, l, entry)
		appends = append(appends, time.Since(start))
		start = time.Now()
		if _, err := plain.WriteAt(block, int64(len(syncs)*len(block))); err != nil {
			b.Fatal(err)
		}
		if err := plain.Sync(); err != nil {
			b.Fatal(err)
		}
		syncs = append(syncs, time.Since(start))
	}
	slices.Sort(appends)
	slices.Sort(syncs)
	ours, one := appends[len(appends)/2], syncs[len(syncs)/2]
	b.ReportMetric(float64(ours.Microseconds()), "µs/append")
	b.ReportMetric(float64(one.Microseconds()), "µs/fdatasync")
	b.ReportMetric(float64(ours)/float64(one), "x/fdatasync")
}

// BenchmarkAppendMany is 256 clients with bodies of 1 KiB.
func BenchmarkAppendMany(b *testing.B) {
	l := chaintest.NewSetup(b, "bench", 0).Open(b, open(b, disk.Config{Dir: b.TempDir()}))
	entry := func(i int) chain.Entry {
		e := chaintest.Entry(fmt.Sprintf("Patient/%d", i))
		e.Statement = make([]byte, 780)
		return e
	}
	for i := range 256 {
		chaintest.Append(b, l, entry(i))
	}
	body, err := l.Body(b.Context(), 10)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body.Encode())))
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for i := range 256 {
		wg.Go(func() {
			e := entry(i)
			for left.Add(-1) >= 0 {
				if _, err := l.Append(context.Background(), e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkExtend is a custodian's taking over one batch: of one entry, and of
// 256.
func BenchmarkExtend(b *testing.B) {
	for _, n := range []int{1, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := chaintest.NewSetup(b, "bench", 0)
			l := s.Open(b, chaintest.NewStore())
			r := s.Replica(b, open(b, disk.Config{Dir: b.TempDir()}))
			entries := make([]chain.Entry, n)
			for i := range entries {
				entries[i] = chaintest.Entry(fmt.Sprintf("Patient/%d", i))
			}
			chaintest.Append(b, l, entries...)
			chaintest.Follow(b, l, r)
			for b.Loop() {
				b.StopTimer()
				chaintest.Append(b, l, entries...)
				b.StartTimer()
				chaintest.Follow(b, l, r)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
		})
	}
}

// BenchmarkProof is an inclusion proof of an old entry, read from tiles on disk.
func BenchmarkProof(b *testing.B) {
	l := chaintest.NewSetup(b, "bench", 0).Open(b, open(b, disk.Config{Dir: b.TempDir()}))
	entries := slices.Repeat([]chain.Entry{chaintest.Entry("Patient/a")}, 1000)
	for range 100 {
		chaintest.Append(b, l, entries...)
	}
	for i := uint64(0); b.Loop(); i++ {
		if _, err := l.Proof(b.Context(), i*7919%l.Size(), l.Size()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad is a start: 20,000 entries in batches of one are read, opened
// and checked.
func BenchmarkLoad(b *testing.B) {
	const n = 20_000
	s, dir := chaintest.NewSetup(b, "bench", 0), b.TempDir()
	memory := chaintest.NewStore()
	l := s.Open(b, memory)
	for i := range n {
		chaintest.Append(b, l, chaintest.Entry(fmt.Sprintf("Patient/%d", i%500)))
	}
	store := open(b, disk.Config{Dir: dir})
	for batch, err := range memory.Batches(b.Context(), 0) {
		if err == nil {
			err = store.Append(b.Context(), batch)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	keys, err := memory.Keys(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(store.SetInfo(b.Context(), l.Info()), store.AppendKeys(b.Context(), keys), store.Close()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		store := open(b, disk.Config{Dir: dir})
		r := s.Replica(b, store)
		if r.Size() != n+1 {
			b.Fatal(r.Size())
		}
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
