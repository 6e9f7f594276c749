package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

const (
	watchedBatch = `{"type":"revocation","origin":"o5kq3fbn2v6c","seq":12,"at":"2026-01-02T03:04:05.678Z","events":[` +
		`{"kind":"sid","value":"zwkq3fbn2v6c4o5yqhd7xj2mte","expires_at":1767323345,"at":1767323045,"reason":"logoff"},` +
		`{"kind":"sub","value":"ev\u001b[2Jil","expires_at":1767323345,"at":1767323045,"reason":"revoked","epoch":7}],"users":{"zwkq3fbn2v6c4o5yqhd7xj2mte":"ada"},"flushed_ms":0}`
	watchedApplied = `{"type":"applied","origin":"o5kq3fbn2v6c","seq":12,"applied":3,"of":3,"slowest_ms":4}`
	watchedLagging = `{"type":"applied","origin":"o5kq3fbn2v6c","seq":13,"applied":1,"of":2,"slowest_ms":2,"laggards":["billing/1"]}`
	watchedPending = `{"type":"revocation","origin":"o5kq3fbn2v6c","seq":13,"at":"2026-01-02T03:04:06Z","events":[` +
		`{"kind":"all","value":"","expires_at":1767323345,"at":1767323045,"reason":"restore","epoch":9}]}`
	watchedService = `{"type":"service","service":"billing/1","source":"nats/billing","state":"stale","before":"fresh","lag":2,"age_ms":30,"at":"2026-01-02T03:04:07Z"}`
	watchedKey     = `{"type":"key","what":"key_activated","kid":"k1","purpose":"access","algorithm":"ES256","state":"active","at":"2026-01-02T03:04:08Z"}`
)

// serveWatch answers the n-th request with the events of streams[n], lines of JSON; nil is a
// refusal. The last stream stays open.
func serveWatch(t *testing.T, streams ...[]string) {
	t.Helper()
	serveFake(t, nil)
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(asked.Add(1)) - 1
		if n >= len(streams) {
			n = len(streams) - 1
		}
		if streams[n] == nil {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(503)
			_, _ = fmt.Fprint(w, `{"code":"busy","detail":"too many are watching"}`)
			return
		}
		_, _ = fmt.Fprint(w, ": watching\n\n")
		for _, data := range streams[n] {
			name, _, _ := strings.Cut(strings.TrimPrefix(data, `{"type":"`), `"`)
			_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
		}
		_ = http.NewResponseController(w).Flush()
		if n == len(streams)-1 {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv(adminclient.EnvAdmin, server.URL)
}

// watchUntil runs watch until its output has mark, and then interrupts it.
func watchUntil(t *testing.T, mark string, args ...string) ran {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout, stderr syncBuffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, append([]string{"watch"}, args...), nil, &stdout, &stderr) }()
	eventually(t, "the output has "+mark, func() bool { return strings.Contains(stdout.String(), mark) })
	interrupt()
	return ran{<-code, stdout.String(), stderr.String()}
}

func TestWatchPrintsALineForEachRevocation(t *testing.T) {
	serveWatch(t, []string{watchedService, watchedBatch, watchedApplied, watchedPending, watchedLagging, `{"type":"unheard"}`, watchedKey})
	got := watchUntil(t, "key_activated")
	want := `TIME (UTC)    KIND     VALUE                                 REASON          BATCH
03:04:07.000  service  billing/1                             stale           was fresh, 2 batches behind
03:04:05.678  sid      zwkq3fbn2v6c4o5yqhd7xj2mte            logoff          o5kq3f.12  of ada, sent in under 1 ms, applied by 3 of 3 services in 4 ms
03:04:05.678  sub      "ev\x1b[2Jil"                         revoked         o5kq3f.12  sent in under 1 ms, applied by 3 of 3 services in 4 ms
03:04:06.000  all      -                                     restore         o5kq3f.13  recorded, not yet sent to NATS, applied by 1 of 2 services in 2 ms; not yet: billing/1
03:04:08.000  key      k1                                    key_activated   access ES256 active
`
	if diff := cmp.Diff(ran{terminal.ExitOK, want, ""}, got, cmp.AllowUnexported(ran{})); diff != "" {
		t.Error(diff)
	}
}

func TestWatchPrintsJSONLines(t *testing.T) {
	all := []string{watchedService, watchedBatch, watchedApplied, watchedPending, watchedLagging, watchedKey}
	serveWatch(t, all)
	if diff := cmp.Diff(ran{terminal.ExitOK, strings.Join(all, "\n") + "\n", ""}, watchUntil(t, "key_activated", "--output", "json"), cmp.AllowUnexported(ran{})); diff != "" {
		t.Error(diff)
	}
}

func TestWatchOfOneKindShowsNothingElse(t *testing.T) {
	stream := []string{watchedService, watchedPending, watchedLagging, watchedKey, watchedBatch, watchedApplied}
	serveWatch(t, stream)
	got := watchUntil(t, `"applied":3`, "--output", "json", "--kind", "sid")
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"logoff"`) || strings.Contains(lines[0], `"sub"`) || lines[1] != watchedApplied {
		t.Errorf("got %s", got.stdout)
	}
	got = watchUntil(t, "applied by 3", "--kind", "sub")
	if strings.Count(got.stdout, "\n") != 2 || !strings.Contains(got.stdout, "\n03:04:05.678  sub ") {
		t.Errorf("got %s", got.stdout)
	}
}

func TestWatchOfALargeBatchShowsItsBeginning(t *testing.T) {
	events := make([]string, 2000)
	for i := range events {
		events[i] = fmt.Sprintf(`{"kind":"jti","value":"j%d","expires_at":2,"at":1,"reason":"revoked"}`, i)
	}
	serveWatch(t, []string{
		`{"type":"revocation","origin":"o5kq3fbn2v6c","seq":12,"at":"2026-01-02T03:04:05Z","events":[` + strings.Join(events, ",") + `],"flushed_ms":7}`,
		`{"type":"applied","origin":"o5kq3fbn2v6c","seq":12,"applied":0,"of":0,"slowest_ms":0}`,
	})
	got := watchUntil(t, "and 1980 more")
	if strings.Count(got.stdout, "\n") != 22 || !strings.Contains(got.stdout, "sent in 7 ms, no service is heard") {
		t.Errorf("got %s", got.stdout)
	}
}

func TestWatchOutlivesTheServer(t *testing.T) {
	serveWatch(t, []string{watchedBatch}, nil, []string{watchedKey})
	got := watchUntil(t, "key_activated")
	if got.code != terminal.ExitOK || strings.Count(got.stdout, "KIND") != 1 || !strings.Contains(got.stdout, "o5kq3f.12  sent in under 1 ms\n") {
		t.Errorf("got %+v", got)
	}
	lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "trying again.") || !strings.HasPrefix(lines[1], "The server is back") {
		t.Errorf("stderr %q", got.stderr)
	}
}

func TestWatchEndsAfterItsTime(t *testing.T) {
	serveWatch(t, []string{watchedBatch})
	got := command(t, nil, "watch", "--for", "200ms")
	if got.code != terminal.ExitOK || got.stderr != "" || strings.Count(got.stdout, "sent in under 1 ms\n") != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestWatchIsRefused(t *testing.T) {
	serveWatch(t, nil)
	if got := command(t, nil, "watch"); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "busy: too many are watching") {
		t.Errorf("too many: %+v", got)
	}
	serveFake(t, nil)
	t.Setenv(adminclient.EnvAdmin, "http://127.0.0.1:1")
	if got := command(t, nil, "watch"); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "no server answers") {
		t.Errorf("without a service: %+v", got)
	}
	for _, args := range [][]string{{"watch", "x"}, {"watch", "--kind", "x"}, {"watch", "--for", "-1s"}} {
		if got := command(t, nil, args...); got.code != terminal.ExitUsage {
			t.Errorf("%v: %+v", args, got)
		}
	}
}
