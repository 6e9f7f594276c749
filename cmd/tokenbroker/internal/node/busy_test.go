package node_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/password"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

// visitor is a client that refreshes its session as the protocol requires.
type visitor struct {
	cookie, csrf string
	last         answer
	err          error
}

// refresh sends one request. Only a successful answer has a new cookie.
func (v *visitor) refresh(ctx context.Context, l *lab) {
	v.last, v.err = l.ask(ctx, "/auth/refresh/", v.cookie, "", `{"CSRF_token": "`+v.csrf+`"}`)
	if v.err == nil && v.last.status == http.StatusOK {
		v.cookie, v.csrf = v.last.setCookie, v.last.CSRF
	}
}

// together runs one goroutine for each visitor and waits for all.
func together(visitors []*visitor, do func(*visitor)) {
	var all sync.WaitGroup
	for _, v := range visitors {
		all.Go(func() { do(v) })
	}
	all.Wait()
}

// believingProvider accepts any id token as the name of the subject, so that sign-ins do not wait
// for the check of a password.
type believingProvider struct{ broker.IdentityProvider }

func (believingProvider) Issuer() string             { return "https://believing.test" }
func (believingProvider) Issuers() []string          { return nil }
func (believingProvider) Ready(context.Context) bool { return true }

func (p believingProvider) VerifyTokens(_ context.Context, tokens broker.UpstreamTokens) (broker.Identity, error) {
	return broker.Identity{
		Provider: "believing", Issuer: p.Issuer(), Subject: tokens.IDToken, Username: tokens.IDToken,
		TokenHash: tokens.IDToken, Proven: true, ExpiresAt: time.Now().Add(time.Hour),
	}, nil
}

// TestFullMailboxes sends requests of 64 concurrent clients, many more than the mailboxes have room
// for. Each is answered 200, or 503 with the code busy and Retry-After; then each client continues
// with its cookie.
func TestFullMailboxes(t *testing.T) {
	t.Parallel()
	const clients = 64
	l := newFaultLab(t, func(cfg *node.Config) {
		cfg.Mailbox = 1
		cfg.Providers = func(string, node.Transport) (map[string]node.Provider, error) {
			return map[string]node.Provider{"believing": believingProvider{}}, nil
		}
	})
	visitors := make([]*visitor, clients)
	for i := range visitors {
		a, err := l.ask(t.Context(), "/auth/social-exchange/", "", "", fmt.Sprintf(`{"id_token": "user-%d"}`, i))
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("%+v, %v", a, err)
		}
		visitors[i] = &visitor{cookie: a.setCookie, csrf: a.CSRF}
	}

	ok, busy := 0, 0
	for round := 0; round < 4 || busy == 0 && round < 50; round++ {
		together(visitors, func(v *visitor) { v.refresh(t.Context(), l) })
		for _, v := range visitors {
			switch a := v.last; {
			case v.err != nil:
				t.Fatal(v.err)
			case a.status == http.StatusOK && a.Access != "":
				ok++
			case a.status == http.StatusServiceUnavailable && a.Code == "busy" && a.retryAfter == "1" && a.setCookie == "":
				busy++
			default:
				t.Fatalf("%+v", a)
			}
		}
	}
	t.Logf("%d refreshes, %d of them busy", ok+busy, busy)
	if ok == 0 || busy == 0 {
		t.Fatal("want answers of both kinds")
	}
	for _, v := range visitors {
		eventually(t, "the client goes on", func() bool {
			v.refresh(t.Context(), l)
			if v.err != nil || v.last.status != http.StatusOK && v.last.Code != "busy" {
				t.Fatalf("after the overload: %+v, %v", v.last, v.err)
			}
			return v.last.status == http.StatusOK
		})
	}
	l.wantMetrics(
		`tokenbroker_actor_mailbox_messages{actor="committer"} 0`, `tokenbroker_actor_mailbox_messages{actor="shard"} 0`,
		fmt.Sprintf(`tokenbroker_refreshes_total{result="ok"} %d`, ok+clients),
	)
	if text := l.scrape(); strings.Count(text, "\ntokenbroker_refreshes_total{") != 2 { // ok and busy
		t.Errorf("refreshes with another result:\n%s", text)
	}
}

// TestFullPasswordQueue starts more sign-ins than may wait for the check of their passwords. Those
// that exceed the limit are refused at once, and those that are cancelled make room.
func TestFullPasswordQueue(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, func(cfg *node.Config) {
		cfg.Public.TrustedProxies, cfg.Passwords = []string{"127.0.0.1"}, password.DefaultParams
	})
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	const clients = 400
	answers := make(chan answer, clients)
	var all sync.WaitGroup
	for i := range clients { // with many names and addresses, so that they are not throttled
		all.Go(func() {
			a, err := l.ask(ctx, "/auth/sign-in/", "", fmt.Sprintf("10.%d.%d.1", i/200, i%200), fmt.Sprintf(`{"username": "nobody-%d", "password": "wrong"}`, i))
			if err == nil {
				answers <- a
			}
		})
	}
	for got := map[string]int{}; got["busy"] < 10 || got["invalid_credentials"] < 1; {
		select {
		case a := <-answers:
			if got[a.Code]++; a.Code == "busy" && (a.status != http.StatusServiceUnavailable || a.retryAfter != "1") {
				t.Errorf("%+v", a)
			} else if a.Code != "busy" && a.Code != "invalid_credentials" {
				t.Fatalf("%+v", a)
			}
		case <-time.After(patience):
			t.Fatalf("a sign-in waits; answered so far: %v", got)
		}
	}
	giveUp()
	all.Wait()
	eventually(t, "there is room again", func() bool {
		a, err := l.ask(t.Context(), "/auth/sign-in/", "", "10.200.0.1", `{"username": "ada", "password": "lovelace"}`)
		return err == nil && a.status == http.StatusOK && strings.Contains(a.setCookie, "=")
	})
}
