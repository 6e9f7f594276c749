package metrics_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/revocation"
)

// touched returns metrics in which every labelled metric has at least one series.
func touched(t *testing.T) *metrics.Metrics {
	t.Helper()
	m := metrics.New()
	m.HTTP("/auth/refresh", "POST", 200, time.Millisecond)
	m.Batch("shard", 3, time.Millisecond)
	m.Restart("shard", "boom")
	m.Committed(3, []revocation.Event{{Kind: revocation.KindSID, Reason: revocation.ReasonLogoff}})
	_, _ = m.Sessions(answers{}).SignIn(t.Context(), "ada", "secret", broker.Request{})
	_, _ = m.Sessions(answers{}).Refresh(t.Context(), "token", "csrf", broker.Request{})
	_, _ = m.Sessions(answers{}).LogOff(t.Context(), "token", "csrf", broker.Request{})
	_, _ = m.Upstream("cognito", answering{status: 200}).RoundTrip(newRequest(t))
	return m
}

func TestNamesFollowTheConventions(t *testing.T) {
	m := touched(t)
	problems, err := testutil.GatherAndLint(m.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	wantLines(t, scrape(t, m),
		`tokenbroker_http_requests_total{method="POST",route="/auth/refresh",status="200"} 1`,
		`tokenbroker_actor_restarts_total{actor="shard"} 1`,
		`tokenbroker_actor_restarts_total{actor="committer"} 0`,
		`tokenbroker_commits_total 1`,
		`tokenbroker_revocation_events_total{kind="sid",reason="logoff"} 1`,
	)
}

func TestEveryMetricHasHelp(t *testing.T) {
	families, err := touched(t).Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "tokenbroker_") {
			ours++
			if len(f.GetHelp()) < 20 {
				t.Errorf("%s: help %q", f.GetName(), f.GetHelp())
			}
		}
	}
	if ours < 12 {
		t.Errorf("%d metrics of the broker, which are too few for this test", ours)
	}
}

// No value that a caller, an operator or a bug invents makes a new series.
func TestLabelsAreClosedSets(t *testing.T) {
	m := metrics.New()
	for _, odd := range []string{"odd-1", "odd-2", "odd-3"} {
		m.HTTP("unmatched", odd, 777, 0)
		m.HTTP("unmatched", odd, -1, 0)
		m.Committed(1, []revocation.Event{{Kind: revocation.Kind(odd), Reason: revocation.Reason(odd)}})
		_, _ = m.Sessions(answers{err: &broker.Error{Code: broker.Code(odd)}}).Refresh(t.Context(), "t", "c", broker.Request{})
		_, _ = m.Sessions(answers{err: errors.New(odd)}).Refresh(t.Context(), "t", "c", broker.Request{})
		_, _ = m.Upstream("cognito", answering{status: 999}).RoundTrip(newRequest(t))
	}
	body := scrape(t, m)
	if strings.Contains(body, "odd") {
		t.Error("an invented label is in the metrics")
	}
	wantLines(t, body,
		`tokenbroker_http_requests_total{method="other",route="unmatched",status="other"} 6`,
		`tokenbroker_revocation_events_total{kind="other",reason="other"} 3`,
		`tokenbroker_refreshes_total{result="other"} 3`, `tokenbroker_refreshes_total{result="internal"} 3`,
		`tokenbroker_upstream_requests_total{provider="cognito",result="error"} 3`)
}

func TestGaugesAreReadAtEachScrape(t *testing.T) {
	m := metrics.New()
	depth := 1.0
	m.Gauge("tokenbroker_test_ratio", "Only of the test.", func() float64 { return metrics.Bool(depth > 1) })
	m.Gauges("tokenbroker_test_messages", "Only of the test.", "actor", func() map[string]float64 {
		return map[string]float64{"shard": depth, "committer": 0}
	})
	wantLines(t, scrape(t, m), `tokenbroker_test_messages{actor="committer"} 0`, `tokenbroker_test_messages{actor="shard"} 1`, "tokenbroker_test_ratio 0")
	depth = 7
	wantLines(t, scrape(t, m), `tokenbroker_test_messages{actor="shard"} 7`, "tokenbroker_test_ratio 1")
}

func TestUpstreamRequestsAreCountedByResult(t *testing.T) {
	m := metrics.New()
	refused := errors.New("connection refused")
	for _, a := range []answering{{status: 200}, {status: 204}, {status: 302}, {status: 404}, {status: 503}, {err: refused}} {
		resp, err := m.Upstream("cognito", a).RoundTrip(newRequest(t))
		if !errors.Is(err, a.err) || err == nil && resp.StatusCode != a.status {
			t.Errorf("the answer was changed: %v, %v", resp, err)
		}
	}
	wantLines(t, scrape(t, m),
		`tokenbroker_upstream_requests_total{provider="cognito",result="2xx"} 2`,
		`tokenbroker_upstream_requests_total{provider="cognito",result="3xx"} 1`,
		`tokenbroker_upstream_requests_total{provider="cognito",result="4xx"} 1`,
		`tokenbroker_upstream_requests_total{provider="cognito",result="5xx"} 1`,
		`tokenbroker_upstream_requests_total{provider="cognito",result="error"} 1`,
		`tokenbroker_upstream_request_duration_seconds_count{provider="cognito"} 6`)
}

// answering is a transport with the answer of a provider.
type answering struct {
	status int
	err    error
}

// RoundTrip implements [http.RoundTripper].
func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Body: http.NoBody}, nil
}

func newRequest(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://idp.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
