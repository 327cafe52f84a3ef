package records

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// quorumMetrics are what a quorum counts. None has an id in it.
type quorumMetrics struct {
	opens    *prometheus.HistogramVec // by outcome
	rounds   *prometheus.HistogramVec // by custodian
	batched  prometheus.Histogram     // releases that shared a call
	failures *prometheus.CounterVec   // calls without an answer, by custodian
	refusals *prometheus.CounterVec   // by custodian and reason
	lies     *prometheus.CounterVec   // by custodian
}

func newQuorumMetrics(r prometheus.Registerer) (*quorumMetrics, error) {
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 14)
	m := &quorumMetrics{
		opens: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "records_open_seconds", Help: "From the logged request to the opened resources, by outcome.", Buckets: seconds,
		}, []string{"outcome"}),
		rounds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "records_round_seconds", Help: "Calls that a custodian answered.", Buckets: seconds,
		}, []string{"custodian"}),
		batched: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "records_round_releases", Help: "Releases that travelled in one call.", Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "records_round_failures_total", Help: "Calls that a custodian did not answer.",
		}, []string{"custodian"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "records_refusals_total", Help: "Releases that a custodian refused, by reason.",
		}, []string{"custodian", "reason"}),
		lies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "records_custodian_lies_total", Help: "Times a custodian was found to answer dishonestly.",
		}, []string{"custodian"}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(r.Register(m.opens), r.Register(m.rounds), r.Register(m.batched),
		r.Register(m.failures), r.Register(m.refusals), r.Register(m.lies))
}
