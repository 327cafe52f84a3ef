package store_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/fhir/store"
)

// observation is a typical resource to write and read.
func observation(b *testing.B) *fhir.Resource {
	b.Helper()
	all := fhirtest.Synthea()
	i := slices.IndexFunc(all, func(r *fhir.Resource) bool { return r.Type() == "Observation" })
	return all[i]
}

// clients shares b.N turns among n clients and reports the time that one turn takes at
// the median, as its client sees it.
func clients(b *testing.B, n int, turn func(client, i int) error) {
	b.Helper()
	took := make([][]time.Duration, n)
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for client := range n {
		group.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				begun := time.Now()
				if err := turn(client, i); err != nil {
					b.Error(err)
					return
				}
				took[client] = append(took[client], time.Since(begun))
			}
		})
	}
	group.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// BenchmarkGet reads one resource of many over real loopback HTTP.
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := start(b, store.Config{})
			r := observation(b)
			s.put(r, nil)
			clients(b, n, func(int, int) error {
				got, err := s.try(context.Background(), "GET", "/fhir/"+r.Ref().String(), nil, "")
				if err == nil && got.status != http.StatusOK {
					err = fmt.Errorf("status %d", got.status)
				}
				return err
			})
		})
	}
}

// BenchmarkPut updates one resource a client. A write alone cannot be faster than a
// sync of the disk; the metric per-sync says how many syncs' time one takes, which
// group commit brings below one where many write.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := start(b, store.Config{})
			r := observation(b)
			sync := syncTime(b)
			clients(b, n, func(client, _ int) error {
				id := fmt.Sprint("o", client)
				mine, err := r.WithID(id)
				if err != nil {
					return err
				}
				got, err := s.try(context.Background(), "PUT", "/fhir/Observation/"+id, header{"Prefer": "return=minimal"}, string(mine.JSON()))
				if err == nil && got.status > 201 {
					err = fmt.Errorf("status %d", got.status)
				}
				return err
			})
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/sync.Seconds(), "per-sync")
		})
	}
}

// BenchmarkReadMany finds fifty resources by id.
func BenchmarkReadMany(b *testing.B) {
	s := start(b, store.Config{})
	s.observations(200)
	query := "/fhir/Observation?_count=50&_id=o001"
	for i := range 49 {
		query += fmt.Sprintf(",o%03d", 2+3*i)
	}
	clients(b, 1, func(int, int) error {
		got, err := s.try(context.Background(), "GET", query, nil, "")
		if err == nil && got.status != http.StatusOK {
			err = fmt.Errorf("status %d", got.status)
		}
		return err
	})
}

// syncTime is what one small appended and synced write costs here.
func syncTime(b *testing.B) time.Duration {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "sync"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const writes = 100
	begun := time.Now()
	for range writes {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begun) / writes
}
