package upstream_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
)

const wellKnown = "/.well-known/openid-configuration"

// TestReadyFollowsTheLastAnswer checks that Ready uses the last response of any endpoint.
func TestReadyFollowsTheLastAnswer(t *testing.T) {
	for name, path := range map[string]string{"tokens": "/token", "keys": "/jwks"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOP()
				p := o.provider(t, nil)
				ask := func() {
					if path == "/jwks" {
						_ = verifyIn(t, p, jose.RS256, "rsa2", "rsa2")
						return
					}
					_, _ = p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Nonce: "n"})
				}
				if !p.Ready(t.Context()) {
					t.Fatal("a working provider is not ready")
				}
				o.answer(path, status(503, ""))
				ask()
				if p.Ready(t.Context()) {
					t.Error("ready after an endpoint failed")
				}
				o.answer(path, status(400, `{"error":"invalid_grant"}`))
				if path == "/jwks" {
					o.answer(path, nil)
				}
				time.Sleep(2 * time.Second)
				ask()
				if !p.Ready(t.Context()) {
					t.Error("not ready after it responded again")
				}
			})
		})
	}
}

// TestReadyRequestsAnUnusedProvider checks that Ready sends occasional requests if there are no
// others.
func TestReadyRequestsAnUnusedProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		p := o.provider(t, nil)
		for range 60 {
			if !p.Ready(t.Context()) {
				t.Fatal("not ready")
			}
			time.Sleep(time.Second)
		}
		if n := o.asked(wellKnown); n != 2 {
			t.Errorf("%d requests in a minute", n)
		}
		o.answer(wellKnown, status(503, ""))
		time.Sleep(31 * time.Second)
		if p.Ready(t.Context()) {
			t.Error("ready while it is down")
		}
		if _, err := p.AuthorizeURL(t.Context(), authorizeRequest()); err != nil {
			t.Errorf("the last discovery document is not used: %v", err)
		}
		o.answer(wellKnown, hang)
		time.Sleep(31 * time.Second)
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		if p.Ready(short) || time.Since(start) > 300*time.Millisecond {
			t.Errorf("ready, or after %v", time.Since(start))
		}
		time.Sleep(6 * time.Second) // pending requests end
	})
}

// TestDiscoveryIsReadAgain checks that the document is read again after an hour, without a wait.
// After a failure the last document stays in use, and keys are kept if their URL is the same.
func TestDiscoveryIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		p := o.provider(t, nil)
		page := func() string {
			t.Helper()
			start := time.Now()
			to, err := p.AuthorizeURL(t.Context(), authorizeRequest())
			if err != nil || time.Since(start) > 0 {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
			synctest.Wait()
			return to
		}
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); err != nil {
			t.Fatal(err)
		}
		page()
		time.Sleep(30 * time.Minute)
		page()
		if n := o.asked(wellKnown); n != 1 {
			t.Errorf("%d requests in half an hour", n)
		}
		moved := maps.Clone(o.discovery)
		moved["authorization_endpoint"] = issuerURL + "/moved"
		o.mu.Lock()
		o.discovery = moved
		o.mu.Unlock()
		o.answer(wellKnown, status(500, ""))
		time.Sleep(31 * time.Minute)
		page()
		if to := page(); !strings.HasPrefix(to, issuerURL+"/authorize?") || o.asked(wellKnown) != 2 {
			t.Errorf("after a failure: %s, %d requests", to, o.asked(wellKnown))
		}
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); err != nil || p.KeyFetches() != 2 { // the second because of their age
			t.Errorf("%v, the keys were fetched %d times", err, p.KeyFetches())
		}
		o.answer(wellKnown, nil)
		time.Sleep(11 * time.Second)
		page()
		if to := page(); !strings.HasPrefix(to, issuerURL+"/moved?") {
			t.Errorf("after it was read again: %s", to)
		}
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); err != nil || p.KeyFetches() != 2 {
			t.Errorf("keys in the same place: %v, they were fetched %d times", err, p.KeyFetches())
		}
	})
}
