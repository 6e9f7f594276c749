package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/revocation/ledger"
)

// TestAStoppedProcessClosesItsConnections checks that after a pause every request of an old connection is answered 503
// and its connection closed, and that requests to livez are answered.
func TestAStoppedProcessClosesItsConnections(t *testing.T) {
	n := &Node{began: time.Now().Add(-time.Minute)}
	var offset atomic.Int64 // of the wall clock, which goes on while the machine is suspended
	n.cluster = &cluster{Node: n, pauses: newPauses(n.mono, func() time.Time { return time.Now().Add(time.Duration(offset.Load())) })}
	endpoint := n.cluster.guardPublic("/docs/:name", func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	alive := n.cluster.guardPublic("/livez", httpapi.Live)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve := endpoint
		if r.URL.Path == "/livez" {
			serve = alive
		}
		if err := serve(w, r); err != nil {
			httpapi.Fail(w, r, err)
		}
	}))
	srv.Config.ConnContext = n.accepted
	srv.Start()
	defer srv.Close()
	get := func(path string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is kept
		_ = resp.Body.Close()
		return resp
	}
	wantRefused := func(when string) {
		t.Helper()
		if resp := get("/"); resp.StatusCode != http.StatusServiceUnavailable || !resp.Close || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("%s: %d, closed %v, %v", when, resp.StatusCode, resp.Close, resp.Header)
		}
	}
	if resp := get("/"); resp.StatusCode != http.StatusOK || resp.Close {
		t.Fatalf("a running process: %d, closed %v", resp.StatusCode, resp.Close)
	}
	offset.Store(int64(time.Minute))
	wantRefused("after the pause")
	if resp := get("/livez"); resp.StatusCode != http.StatusOK { // it stays on this connection
		t.Errorf("livez: %d", resp.StatusCode)
	}
	n.cluster.pauses.pulse()
	n.cluster.pauses.stored(n.mono())
	wantRefused("on the connection from before the reading")
	if resp := get("/"); resp.StatusCode != http.StatusOK || resp.Close {
		t.Errorf("on a new connection: %d, closed %v", resp.StatusCode, resp.Close)
	}
}

// TestTokensAreCheckedWithoutTheStoreForSomeTime checks that a check of a token waits for the barrier, and without it
// accepts knowledge of up to 30 s.
func TestTokensAreCheckedWithoutTheStoreForSomeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{began: time.Now()}
		var away error
		waits := 0
		var proved time.Duration
		c := &cluster{Node: n, barrier: func(ctx context.Context) error {
			waits++
			if away != nil {
				<-ctx.Done() // as an engine that does not answer
				return away
			}
			proved = n.mono()
			return nil
		}, proved: func() time.Duration { return proved }}
		time.Sleep(time.Hour)
		away = errors.New("no answer")
		if c.current(t.Context()) == nil {
			t.Error("a token is checked by knowledge of unknown age")
		}
		away = nil
		if err := c.current(t.Context()); err != nil || waits != 2 {
			t.Errorf("%v after %d barriers", err, waits)
		}
		away = errors.New("no answer")
		for range 29 { // each waits for a second
			if err := c.current(t.Context()); err != nil {
				t.Fatalf("%v after %s", err, n.mono()-proved)
			}
		}
		time.Sleep(time.Second)
		if c.current(t.Context()) == nil {
			t.Error("a token is checked by knowledge of more than 30 s")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		away = nil
		if err := c.current(t.Context()); err != nil {
			t.Error(err)
		}
		away = errors.New("no answer")
		if c.current(ended) == nil {
			t.Error("a request that has ended is answered")
		}
	})
}

func TestNeedsOfPaths(t *testing.T) {
	for path, want := range map[string]need{
		"/auth/refresh": needStore, "/auth/logoff": needStore, "/auth/unknown": needStore, "/admin/v1/revocations/bulk": needStore,
		"/auth/authorize": needStore, "/auth/authorize/consent": needStore, "/auth/logout": needStore,
		"/oauth2/token": needStore, "/oauth2/revoke": needStore, "/oauth2/userinfo": needStore, "/oauth2/introspect": needClock,
		"/web/client.js": needRun, "/livez": needNothing, "/.well-known/jwks.json": needKeys, "/auth/verify": needClock,
	} {
		if got := needOf(path); got != want {
			t.Errorf("%s needs %d, want %d", path, got, want)
		}
	}
}

// TestAnElectionIsOutlasted checks that a check of a token waits while the engine elects a leader, and no longer than it
// takes to see that the engine does not answer at all.
func TestAnElectionIsOutlasted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{began: time.Now()}
		back := 2 * time.Second
		reached := 0
		c := &cluster{Node: n, barrier: func(ctx context.Context) error {
			if n.mono() < back {
				return fmt.Errorf("views: %w", ledger.ErrNoView)
			}
			reached++
			return nil
		}, proved: func() time.Duration { return 0 }}
		if err := c.current(t.Context()); err != nil || reached != 1 {
			t.Errorf("%v, %d barriers reached: a token is checked by old knowledge during an election", err, reached)
		}
		c.read.Store(int64(n.mono()))
		back = time.Hour
		if err := c.current(t.Context()); err != nil || n.mono() > 2*time.Second+overdueAfter+barrierTimeout {
			t.Errorf("%v after %s without an engine", err, n.mono())
		}
		c.barrier = func(context.Context) error { reached++; return errors.New("an unreadable batch") }
		c.read.Store(int64(n.mono()))
		if err := c.current(t.Context()); err != nil || reached != 2 {
			t.Errorf("%v after %d attempts that waiting cannot help", err, reached)
		}
	})
}
