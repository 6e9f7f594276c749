// Package metrics holds the broker's Prometheus metrics, in a registry of its own. Every label
// has a closed set of values, so callers and providers cannot create series.
package metrics

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
	"tokenbroker/cmd/tokenbroker/internal/buildinfo"
)

// Metrics counts what happens and answers GET /metrics. It is safe for concurrent use.
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

// New returns metrics that are registered with those of the build, the Go runtime and the
// process.
func New() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(buildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Metrics{
		registry: r, requests: newRequests(r), actors: newActors(r), useCases: newUseCases(r), upstreams: newUpstreams(r),
	}
}

// Handler returns the handler of GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Gatherer returns the source of the handler's answers.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Gauge registers a gauge whose value is read at each scrape.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Counter registers a counter whose value, which must never decrease, is read at each scrape.
func (m *Metrics) Counter(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

// Gauges registers a gauge with one label, whose values by label are read at each scrape.
// The caller must return a closed set of label values.
func (m *Metrics) Gauges(name, help, label string, values func() map[string]float64) {
	m.registry.MustRegister(labelled{prometheus.NewDesc(name, help, []string{label}, nil), prometheus.GaugeValue, values})
}

// Counters is like [Metrics.Gauges] for a counter, whose values must never decrease.
func (m *Metrics) Counters(name, help, label string, values func() map[string]float64) {
	m.registry.MustRegister(labelled{prometheus.NewDesc(name, help, []string{label}, nil), prometheus.CounterValue, values})
}

// labelled implements [prometheus.Collector].
type labelled struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	values func() map[string]float64
}

func (l labelled) Describe(ch chan<- *prometheus.Desc) { ch <- l.desc }

func (l labelled) Collect(ch chan<- prometheus.Metric) {
	for label, value := range l.values() {
		ch <- prometheus.MustNewConstMetric(l.desc, l.kind, value, label)
	}
}

// Bool returns 1 for true and 0 for false.
func Bool(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// buildInfo returns a gauge that is always 1; its labels identify the binary.
func buildInfo() prometheus.Collector {
	info := buildinfo.Read()
	if info.Revision == buildinfo.Unstamped {
		info.Revision = "unknown"
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tokenbroker_build_info", Help: "Always 1, with the version, the source revision and the Go version of this binary.",
		ConstLabels: prometheus.Labels{"version": info.Version, "revision": info.Revision, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}
