package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests counts and times the public HTTP surface.
type requests struct {
	answered *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newRequests(registry *prometheus.Registry) requests {
	r := requests{
		answered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_http_requests_total", Help: "HTTP requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_http_request_duration_seconds", Help: "Time to answer an HTTP request, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"route"}),
	}
	registry.MustRegister(r.answered, r.duration)
	return r
}

// HTTP records one answered request. route is a pattern or "unmatched", never a path.
func (r requests) HTTP(route, method string, status int, d time.Duration) {
	r.answered.WithLabelValues(route, methodLabel(method), statusLabel(status)).Inc()
	r.duration.WithLabelValues(route).Observe(d.Seconds())
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return other
}

func statusLabel(status int) string {
	if http.StatusText(status) == "" {
		return other
	}
	return strconv.Itoa(status)
}
