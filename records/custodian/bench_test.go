//go:build unix

package custodian_test

import (
	"context"
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

// BenchmarkRound is one custodian's work: a release alone in its round, and
// many that share one. Its metrics are processor time a release, and the ratio
// of that to what the cryptography alone takes, measured in the same run.
func BenchmarkRound(b *testing.B) {
	w := newWard(b, still())
	w.ask(b)
	for _, releases := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("releases=%d", releases), func(b *testing.B) {
			inner := w.Custodians[0].Inner()
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				round := &records.Round{ID: make([]byte, records.RoundIDSize)}
				rand.Read(round.ID)
				for range releases {
					round.Releases = append(round.Releases, w.release(b, w.attempt(b, w.doctor, w.envelope)))
				}
				var err error
				if round.Batch, err = w.Log.Batch(b.Context(), inner.Status().Size, 1<<20); err != nil {
					b.Fatal(err)
				}
				before := processorTime(b)
				b.StartTimer()
				answer, err := inner.Round(context.Background(), round)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				used += processorTime(b) - before
				for _, r := range answer.Releases {
					if r.Refusal != "" {
						b.Fatal(r.Refusal)
					}
				}
				b.StartTimer()
			}
			each := float64(used.Nanoseconds()) / 1000 / float64(b.N) / float64(releases)
			b.ReportMetric(each, "cpu-µs/release")
			b.ReportMetric(each/cryptography(b, releases), "×crypto")
		})
	}
}

// cryptography is the processor time, in µs, that no custodian can save on a
// release that shares a round with n−1 others: verify, share and prove, box.
func cryptography(b *testing.B, n int) float64 {
	committee, shares, err := dkg.Deal("bench", 4, 3, 1)
	if err != nil {
		b.Fatal(err)
	}
	reader, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	public := reader.PublicKey().Bytes()
	ciphertexts, labels := make([]threshold.Ciphertext, n), make([][]byte, n)
	for i := range ciphertexts {
		labels[i] = fmt.Appendf(nil, "label %d", i)
		if ciphertexts[i], err = committee.Encrypt([32]byte{1}, labels[i]); err != nil {
			b.Fatal(err)
		}
	}
	const times = 40
	before := processorTime(b)
	for range times {
		if err := committee.Verify(ciphertexts, labels); err != nil {
			b.Fatal(err)
		}
		partials, _, err := shares[0].Release(ciphertexts, nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := range ciphertexts {
			box, err := records.NewBox(public, [32]byte{}, uint64(i))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := box.Seal(partials[i : i+1]); err != nil {
				b.Fatal(err)
			}
		}
	}
	return float64((processorTime(b) - before).Nanoseconds()) / 1000 / times / float64(n)
}

func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
