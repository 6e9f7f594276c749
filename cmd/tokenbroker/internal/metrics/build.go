package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/cmd/tokenbroker/internal/buildinfo"
)

// buildInfo is always 1; its labels say which binary this is.
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
