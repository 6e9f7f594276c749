package node_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tokenbroker/cmd/tokenbroker/internal/node"
)

// scrape returns the answer of GET /metrics of the operators' listener.
func (l *lab) scrape() string {
	l.t.Helper()
	token, err := os.ReadFile(filepath.Join(l.dir, node.AdminTokenFile))
	if err != nil {
		l.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, l.node.AdminURL()+"/metrics", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("metrics: %d, %v", resp.StatusCode, err)
	}
	return string(body)
}

func (l *lab) wantMetrics(lines ...string) {
	l.t.Helper()
	body := l.scrape()
	for _, want := range lines {
		if !strings.Contains(body, "\n"+want+"\n") {
			l.t.Errorf("missing %q", want)
		}
	}
}

// TestMetricsOfARealSession checks that the requests of a user increment the counters, and that the
// names of all metrics follow the conventions of Prometheus.
func TestMetricsOfARealSession(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	l.checkReady("ready")
	l.wantMetrics(`tokenbroker_tokens_issued_total{grant="password"} 0`, `tokenbroker_tokens_issued_total{grant="refresh"} 0`)

	b := l.signIn()
	for path, body := range map[string]string{
		"/auth/sign-in/": `{"username": "ada", "password": "wrong"}`, "/auth/refresh/": `{"CSRF_token": "another session's"}`,
	} {
		if status := b.post(path, body); status == http.StatusOK {
			t.Fatalf("%s was not refused", path)
		}
	}
	if status := b.post("/auth/refresh/", `{"CSRF_token": "`+b.csrf+`"}`); status != http.StatusOK {
		t.Fatalf("refresh: %d", status)
	}
	eventually(t, "a log-off is answered 200", func() bool {
		return b.logOff() == http.StatusOK
	})
	for range 3 { // unknown paths and methods make one series, not three
		b.odd("BREW", "/coffee/"+b.csrf)
	}

	l.wantMetrics(
		`tokenbroker_tokens_issued_total{grant="password"} 1`, `tokenbroker_tokens_issued_total{grant="refresh"} 1`,
		`tokenbroker_sign_ins_total{result="ok",way="password"} 1`,
		`tokenbroker_sign_ins_total{result="invalid_credentials",way="password"} 1`,
		`tokenbroker_refreshes_total{result="ok"} 1`, `tokenbroker_refreshes_total{result="csrf_mismatch"} 1`,
		`tokenbroker_log_offs_total{result="ok"} 1`,
		`tokenbroker_revocation_events_total{kind="sid",reason="logoff"} 1`,
		`tokenbroker_http_requests_total{method="POST",route="/auth/logoff",status="200"} 1`,
		`tokenbroker_http_requests_total{method="other",route="unmatched",status="404"} 3`,
		`tokenbroker_actor_mailbox_messages{actor="committer"} 0`, `tokenbroker_actor_mailbox_messages{actor="shard"} 0`,
		`tokenbroker_publisher_backlog_batches 0`, `tokenbroker_publisher_oldest_batch_age_seconds 0`,
		`tokenbroker_nats_connected 1`, `tokenbroker_store_writable 1`,
		`tokenbroker_ready_state{state="ready"} 1`, `tokenbroker_ready_state{state="degraded"} 0`,
	)
	body := l.scrape()
	if strings.Contains(body, "coffee") || strings.Contains(body, "BREW") || strings.Contains(body, b.csrf) {
		t.Error("the metrics contain values that a caller sent")
	}
	if strings.Contains(body, "\ntokenbroker_store_free_bytes 0\n") {
		t.Error("no free space")
	}
	if strings.Contains(body, "tokenbroker_cluster_") {
		t.Error("a store with one broker has metrics of several")
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}

	l.stopNATS()
	l.checkReady("degraded")
	l.wantMetrics(`tokenbroker_nats_connected 0`, `tokenbroker_ready_state{state="degraded"} 1`, `tokenbroker_ready_state{state="ready"} 0`)
}

// odd sends a request that no regular client sends.
func (b *browser) odd(method, path string) {
	b.l.t.Helper()
	req, err := http.NewRequestWithContext(b.l.t.Context(), method, "http://"+b.l.listen+path, nil)
	if err != nil {
		b.l.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.l.t.Fatal(err)
	}
	_ = resp.Body.Close()
}
