package chain

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one log or replica.
type metrics struct {
	registry prometheus.Registerer
	all      []prometheus.Collector

	appends  prometheus.Histogram
	batches  prometheus.Histogram
	writes   prometheus.Histogram
	failures prometheus.Counter
	queued   prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer, prefix string, b *book) (*metrics, error) {
	short := prometheus.ExponentialBuckets(0.0001, 2, 15) // 0.1 ms … 1.6 s
	m := &metrics{
		registry: registry,
		appends:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "_append_seconds", Help: "From call to durable entry.", Buckets: short}),
		batches:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "_batch_entries", Help: "Entries of a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 14)}),
		writes:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "_batch_seconds", Help: "From draft to durable batch.", Buckets: short}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "_append_failures_total", Help: "Entries that were refused or failed."}),
		queued:   prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "_queue_entries", Help: "Entries waiting for the next batch."}),
	}
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + "_size_entries", Help: "Entries of the log."},
		func() float64 { return float64(b.Size()) })
	if registry == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.appends, m.batches, m.writes, m.failures, m.queued, size} {
		if err := registry.Register(c); err != nil {
			m.unregister()
			return nil, errors.Join(errors.New("register metrics"), err)
		}
		m.all = append(m.all, c)
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.registry.Unregister(c)
	}
}

func (m *metrics) appended(entries int, took time.Duration, err error) {
	m.appends.Observe(took.Seconds())
	if err != nil {
		m.failures.Add(float64(entries))
	}
}

func (m *metrics) batch(entries int, took time.Duration) {
	m.batches.Observe(float64(entries))
	m.writes.Observe(took.Seconds())
}

func (m *metrics) queue(waiting int) { m.queued.Set(float64(waiting)) }
