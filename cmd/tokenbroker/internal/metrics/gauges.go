package metrics

import "github.com/prometheus/client_golang/prometheus"

// Gauge registers a value that is read at each scrape.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Counter registers a total that is read at each scrape; it never falls.
func (m *Metrics) Counter(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

// Gauges registers a gauge with one label, whose values by label are read at each scrape.
// The caller answers for a closed set of labels.
func (m *Metrics) Gauges(name, help, label string, values func() map[string]float64) {
	m.registry.MustRegister(gauges{prometheus.NewDesc(name, help, []string{label}, nil), values})
}

// gauges implements [prometheus.Collector].
type gauges struct {
	desc   *prometheus.Desc
	values func() map[string]float64
}

func (g gauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g gauges) Collect(ch chan<- prometheus.Metric) {
	for label, value := range g.values() {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, value, label)
	}
}

// Bool is 1 for true: how Prometheus writes a yes.
func Bool(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
