// Package metrics is the broker's Prometheus metrics, in a registry of its own.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
	"tokenbroker/revocation"
)

// Metrics is told of what happens and answers GET /metrics. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	useCases

	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	batch    *prometheus.HistogramVec
	wait     *prometheus.HistogramVec
	restarts *prometheus.CounterVec
	commits  prometheus.Counter
	changes  prometheus.Histogram
	revoked  prometheus.Counter
}

var (
	_ actor.Observer  = (*Metrics)(nil)
	_ broker.Observer = (*Metrics)(nil)
)

// New makes the metrics and registers them with those of the Go runtime and the process.
func New() *Metrics {
	sizes := prometheus.ExponentialBuckets(1, 2, 11)
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_http_requests_total", Help: "HTTP requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_http_request_duration_seconds", Help: "Time to answer an HTTP request, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"route"}),
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_actor_batch_messages", Help: "Messages that an actor was given at once.", Buckets: sizes,
		}, []string{"actor"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_actor_wait_seconds", Help: "Wait of the oldest message of a batch.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 4, 10),
		}, []string{"actor"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_actor_restarts_total", Help: "Restarts of an actor after a panic.",
		}, []string{"actor"}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenbroker_commits_total", Help: "Transactions of the committer: one fsync each.",
		}),
		changes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokenbroker_commit_changes", Help: "Changes merged into one transaction.", Buckets: sizes,
		}),
		revoked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenbroker_revocations_total", Help: "Revocation events recorded.",
		}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.batch, m.wait, m.restarts, m.commits, m.changes, m.revoked,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.useCases = newUseCases(m.registry)
	return m
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// HTTP records one answered request.
func (m *Metrics) HTTP(route, method string, status int, d time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(d.Seconds())
}

// Batch implements [actor.Observer].
func (m *Metrics) Batch(name string, size int, oldestWait time.Duration) {
	m.batch.WithLabelValues(name).Observe(float64(size))
	m.wait.WithLabelValues(name).Observe(oldestWait.Seconds())
}

// Restart implements [actor.Observer].
func (m *Metrics) Restart(name string, _ any) { m.restarts.WithLabelValues(name).Inc() }

// Committed implements [broker.Observer].
func (m *Metrics) Committed(changes int, events []revocation.Event) {
	m.commits.Inc()
	m.changes.Observe(float64(changes))
	m.revoked.Add(float64(len(events)))
}

// Gauge registers a value that is read at each scrape.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}
