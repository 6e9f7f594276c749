package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/revocation"
)

func TestNamesFollowTheConventions(t *testing.T) {
	m := metrics.New()
	m.HTTP("/auth/refresh", "POST", 200, time.Millisecond)
	m.Batch("shard", 3, time.Millisecond)
	m.Restart("shard", "boom")
	m.Committed(3, []revocation.Event{{Kind: revocation.KindSID, Reason: revocation.ReasonLogoff}})
	m.Gauge("tokenbroker_publisher_backlog_batches", "Batches recorded and not yet sent.", func() float64 { return 7 })
	_, _ = m.Sessions(answers{}).SignIn(t.Context(), "ada", "secret", broker.Request{})
	_, _ = m.Sessions(answers{}).Refresh(t.Context(), "token", "csrf", broker.Request{})
	body := scrape(t, m)
	var ours strings.Builder
	for line := range strings.Lines(body) {
		if strings.Contains(line, "tokenbroker_") {
			ours.WriteString(line)
		}
	}
	problems, err := promlint.New(strings.NewReader(ours.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, want := range []string{
		`tokenbroker_http_requests_total{method="POST",route="/auth/refresh",status="200"} 1`,
		`tokenbroker_actor_restarts_total{actor="shard"} 1`, "tokenbroker_commits_total 1",
		"tokenbroker_revocations_total 1", "tokenbroker_publisher_backlog_batches 7",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("missing %q", want)
		}
	}
}
