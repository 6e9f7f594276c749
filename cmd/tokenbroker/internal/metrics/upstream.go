package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// upstreams counts and times the broker's requests to sign-in providers.
type upstreams struct {
	asked *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newUpstreams(registry *prometheus.Registry) upstreams {
	u := upstreams{
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_upstream_requests_total",
			Help: "Requests to sign-in providers, for keys of assertions and for client_documents, by provider and result: 2xx, 3xx, 4xx, 5xx, or error where there was no answer.",
		}, []string{"provider", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_upstream_request_duration_seconds", Help: "Time until a sign-in provider's answer began, by provider.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}, []string{"provider"}),
	}
	registry.MustRegister(u.asked, u.took)
	return u
}

// Upstream returns next with its requests counted for the provider, which is named as in the configuration.
func (u upstreams) Upstream(provider string, next http.RoundTripper) http.RoundTripper {
	return counted{next: next, count: u, provider: provider}
}

type counted struct {
	next     http.RoundTripper
	count    upstreams
	provider string
}

// RoundTrip implements [http.RoundTripper].
func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	resp, err := c.next.RoundTrip(r)
	c.count.took.WithLabelValues(c.provider).Observe(time.Since(start).Seconds())
	c.count.asked.WithLabelValues(c.provider, class(resp, err)).Inc()
	return resp, err
}

func class(resp *http.Response, err error) string {
	if err != nil || resp.StatusCode < 200 || resp.StatusCode > 599 {
		return "error"
	}
	return strconv.Itoa(resp.StatusCode/100) + "xx"
}
