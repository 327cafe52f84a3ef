package custodian

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a custodian counts. None has an id in it.
type metrics struct {
	rounds   *prometheus.HistogramVec // by outcome
	released prometheus.Counter
	verified prometheus.Counter
	refused  *prometheus.CounterVec // by reason
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		rounds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "custodian_round_seconds", Help: "Rounds, by outcome.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"outcome"}),
		released: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "custodian_releases_total", Help: "Releases that were answered.",
		}),
		verified: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "custodian_ciphertexts_verified_total", Help: "Verifications of a ciphertext, repeated ones included.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "custodian_refusals_total", Help: "Releases that were refused, by reason.",
		}, []string{"reason"}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(r.Register(m.rounds), r.Register(m.released), r.Register(m.verified), r.Register(m.refused))
}
