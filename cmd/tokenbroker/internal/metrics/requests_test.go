package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/api/browser"
	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/store"
)

// scrape returns the answer of GET /metrics.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	return rec.Body.String()
}

func wantLines(t *testing.T, body string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("missing %q", want)
		}
	}
}

// answers is a broker that answers every call with its error or, if that is nil, with a grant.
type answers struct {
	browser.Sessions
	browser.Logins
	off broker.LogOffResult
	err error
}

var grant = new(broker.Grant)

func (a answers) SignIn(context.Context, string, string, broker.Request) (*broker.Grant, error) {
	return grant, a.err
}

func (a answers) Refresh(context.Context, string, string, broker.Request) (*broker.Grant, error) {
	return grant, a.err
}

func (a answers) LogOff(context.Context, string, string, broker.Request, ...string) (broker.LogOffResult, error) {
	return a.off, a.err
}

func (a answers) CompleteLogin(context.Context, broker.LoginCallback, broker.Request) (*broker.Grant, string, error) {
	return grant, "/back", a.err
}

func (a answers) ExchangeTokens(context.Context, string, broker.UpstreamTokens, broker.Request) (*broker.Grant, error) {
	return grant, a.err
}

func TestUseCasesAreCountedByResult(t *testing.T) {
	m := metrics.New()
	for _, want := range []error{
		nil,
		fmt.Errorf("signing in: %w", &broker.Error{Code: broker.CodeTooManyAttempts}),
		errors.New("something with the name of lovelace"),
	} {
		a := answers{err: want}
		sessions, logins := m.Sessions(a), m.Logins(a)
		check := func(g *broker.Grant, err error) {
			t.Helper()
			if g != grant || !errors.Is(err, want) {
				t.Errorf("the answer was changed: %v, %v", g, err)
			}
		}
		check(sessions.SignIn(t.Context(), "ada", "secret", broker.Request{}))
		check(sessions.Refresh(t.Context(), "token", "csrf", broker.Request{}))
		check(logins.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, broker.Request{}))
		g, returnTo, err := logins.CompleteLogin(t.Context(), broker.LoginCallback{}, broker.Request{})
		check(g, err)
		if returnTo != "/back" {
			t.Errorf("return_to was changed: %q", returnTo)
		}
	}
	body := scrape(t, m)
	for _, result := range []string{"ok", "too_many_attempts", "internal"} {
		wantLines(t, body,
			`tokenbroker_sign_ins_total{result="`+result+`",way="password"} 1`,
			`tokenbroker_sign_ins_total{result="`+result+`",way="redirect"} 1`,
			`tokenbroker_sign_ins_total{result="`+result+`",way="exchange"} 1`,
			`tokenbroker_refreshes_total{result="`+result+`"} 1`)
	}
	for _, way := range []string{"password", "redirect", "exchange", "refresh"} { // what was refused issued nothing
		wantLines(t, body, `tokenbroker_tokens_issued_total{grant="`+way+`"} 1`)
	}
	if strings.Contains(body, "lovelace") {
		t.Error("a name is in the metrics")
	}
}

func TestReplaysAreCountedSeparately(t *testing.T) {
	m := metrics.New()
	sessions := m.Sessions(replaying{})
	if g, err := sessions.Refresh(t.Context(), "token", "csrf", broker.Request{}); err != nil || !g.Replayed {
		t.Errorf("the answer was changed: %v, %v", g, err)
	}
	wantLines(t, scrape(t, m), `tokenbroker_refreshes_total{result="replayed"} 1`, `tokenbroker_tokens_issued_total{grant="refresh"} 1`)
}

// replaying is a broker whose refreshes are replays of a superseded refresh token.
type replaying struct{ browser.Sessions }

func (replaying) Refresh(context.Context, string, string, broker.Request) (*broker.Grant, error) {
	return &broker.Grant{Replayed: true}, nil
}

func TestLogOffsAreCountedByResult(t *testing.T) {
	m := metrics.New()
	for _, a := range []answers{
		{off: broker.LogOffResult{Ended: true, Broadcast: true, SID: "s"}}, {off: broker.LogOffResult{Ended: true, SID: "s"}},
		{}, {err: &broker.Error{Code: broker.CodeCSRF}},
	} {
		off, err := m.Sessions(a).LogOff(t.Context(), "token", "csrf", broker.Request{})
		if off != a.off || !errors.Is(err, a.err) {
			t.Errorf("the answer was changed: %+v, %v", off, err)
		}
	}
	body := scrape(t, m)
	for _, result := range []string{"ok", "pending", "no_session", "csrf_mismatch"} {
		wantLines(t, body, `tokenbroker_log_offs_total{result="`+result+`"} 1`)
	}
}

// slowStore is a store whose commits fail after two seconds.
type slowStore struct{ store.Store }

func (slowStore) Commit(context.Context, []store.Change, store.Seal) []error {
	time.Sleep(2 * time.Second) // fake time
	return []error{store.ErrConflict}
}

func TestCommitsAreTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New()
		errs := m.Store(slowStore{}).Commit(t.Context(), make([]store.Change, 1), nil)
		if len(errs) != 1 || !errors.Is(errs[0], store.ErrConflict) {
			t.Errorf("the answer was changed: %v", errs)
		}
		wantLines(t, scrape(t, m), "tokenbroker_commit_duration_seconds_sum 2", "tokenbroker_commit_duration_seconds_count 1")
	})
}
