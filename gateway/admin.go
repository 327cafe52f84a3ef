package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wardkey/wardkey/policy"
)

// metrics are the gateway's own. Labels are routes, statuses and codes; never
// ids, never content.
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	waiting   prometheus.Gauge
	intents   prometheus.Gauge
	lost      prometheus.Counter
	registry  *prometheus.Registry
}

func newMetrics(r *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_requests_total", Help: "Requests answered, by method, route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gateway_request_seconds", Help: "How long requests took, by method and route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"method", "route"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_decisions_total", Help: "Decisions of the gateway's policy, by reason.",
		}, []string{"reason"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_custodian_refusals_total", Help: "Releases that custodians refused although the gateway's policy permitted them, by reason.",
		}, []string{"reason"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gateway_returned_waiting_entries", Help: "Follow-up entries not yet in the log.",
		}),
		intents: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gateway_open_intents", Help: "Writes in the log of which it is not known whether the store has them.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gateway_lost_writes_total", Help: "Writes that the store had taken, by the log, and was found not to have at a start.",
		}),
		registry: r,
	}
	r.MustRegister(m.requests, m.seconds, m.decisions, m.refusals, m.waiting, m.intents, m.lost)
	return m
}

func (m *metrics) request(method, route string, status int, took time.Duration) {
	method = methodName(method)
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}

func (m *metrics) decision(d policy.Decision) { m.decisions.WithLabelValues(string(d.Reason)).Inc() }

func (m *metrics) refused(reason policy.Reason) { m.refusals.WithLabelValues(string(reason)).Inc() }

// Ready reports whether requests are served, and if not, why: the first of a
// log in doubt, writes not settled, too few custodians, follow-ups the log does not take.
func (g *Gateway) Ready() (bool, string) {
	reachable := 0
	for _, s := range g.c.Quorum.Status() {
		if s.Reachable && s.Trusted {
			reachable++
		}
	}
	switch why := g.c.Hold(); {
	case why != "":
		return false, why
	case !g.intents.settled():
		return false, "earlier writes are being read back"
	case g.returned.full():
		return false, "the log does not take entries"
	case reachable < needed(len(g.c.Quorum.Status())):
		return false, "too few custodians"
	}
	return true, "ready"
}

// needed is the least threshold that a committee of n may have: k > (n+f)/2 with
// f = (n-1)/3 liars.
func needed(n int) int { return (n+(n-1)/3)/2 + 1 }

// adminRoutes is what operators see.
func (g *Gateway) adminRoutes() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(discard{})
	e.GET("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", func(c echo.Context) error {
		ready, why := g.Ready()
		if !ready {
			return c.String(http.StatusServiceUnavailable, why+"\n")
		}
		return c.String(http.StatusOK, why+"\n")
	})
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{})))
	return e
}
