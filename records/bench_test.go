//go:build unix

package records_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wardkey/wardkey/records/recordstest"
)

// BenchmarkOpen is the whole way from the logged permit to the opened resource,
// over four custodians in this process that share its processors: append,
// prepare, four rounds, combine. What it prints besides is processor time a
// read, of log, gateway and four custodians together.
func BenchmarkOpen(b *testing.B) {
	for _, disk := range []bool{false, true} {
		for _, clients := range []int{1, 16} {
			b.Run(fmt.Sprintf("disk=%v/clients=%d", disk, clients), func(b *testing.B) {
				w := newWard(b, recordstest.Options{Disk: disk})
				w.opens(b)
				var left atomic.Int64
				left.Store(int64(b.N))
				before := processorTime(b)
				b.ResetTimer()
				done := make(chan error, clients)
				for range clients {
					go func() {
						for left.Add(-1) >= 0 {
							if _, err := w.Read(context.Background(), w.doctor, "TREAT", w.envelope); err != nil {
								done <- err
								return
							}
						}
						done <- nil
					}()
				}
				for range clients {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
			})
		}
	}
}

func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
