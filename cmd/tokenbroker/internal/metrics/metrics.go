// Package metrics is the broker's Prometheus metrics, in a registry of its own. Every label
// has a closed set of values: whatever a caller or a provider sends, the number of series
// has a bound.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
)

// Metrics is told of what happens and answers GET /metrics. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	requests
	actors
	useCases
	upstreams
}

var (
	_ actor.Observer  = (*Metrics)(nil)
	_ broker.Observer = (*Metrics)(nil)
)

// New makes the metrics and registers them with those of the build, the Go runtime and the
// process.
func New() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(buildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Metrics{
		registry: r, requests: newRequests(r), actors: newActors(r), useCases: newUseCases(r), upstreams: newUpstreams(r),
	}
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Gatherer gives what the handler answers from.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }
