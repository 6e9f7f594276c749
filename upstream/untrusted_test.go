package upstream_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// TestKeysThatAClientNamedMustBePublic has a key set on loopback, which an operator may name, but a client may not. Keys that were
// fetched for the one are not used for the other.
func TestKeysThatAClientNamedMustBePublic(t *testing.T) {
	var requests atomic.Int64
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = w.Write(setOf(public("rsa", "rsa")))
	})
	mux.Handle("/moved", http.RedirectHandler("/jwks", http.StatusFound))
	text := sign(t, jose.RS256, "rsa", testKeys()["rsa"], asserted())
	for _, loopback := range []bool{false, true} {
		requests.Store(0)
		a := upstream.NewAssertions(upstream.AssertionsConfig{Logger: slog.New(slog.DiscardHandler), InsecureLoopback: loopback})
		defer a.Close()
		keys := broker.AssertionKeys{JWKSURI: srv.URL + "/jwks"}
		if _, err := a.Verify(t.Context(), text, keys); err != nil {
			t.Fatal(err)
		}
		keys.Untrusted = true
		if _, err := a.Verify(t.Context(), text, keys); (err == nil) != loopback || err != nil && !errors.Is(err, broker.ErrAssertion) {
			t.Errorf("loopback %t: %v", loopback, err)
		}
		if got, want := requests.Load(), map[bool]int64{false: 1, true: 2}[loopback]; got != want {
			t.Errorf("loopback %t: %d requests, want %d", loopback, got, want)
		}
		// An address that is never allowed is not a key set that cannot be read now.
		for uri, want := range map[string]error{
			"https://10.0.0.5/jwks": broker.ErrAssertion, "https://169.254.169.254/jwks": broker.ErrAssertion, "http://keys.test/jwks": broker.ErrAssertion,
			srv.URL + "/moved": map[bool]error{false: broker.ErrAssertion, true: broker.ErrUpstreamUnavailable}[loopback],
		} {
			keys.JWKSURI = uri
			if _, err := a.Verify(t.Context(), text, keys); !errors.Is(err, want) {
				t.Errorf("loopback %t, %s: %v", loopback, uri, err)
			}
		}
	}
}

func TestKeysThatClientsNamedAreLimited(t *testing.T) {
	o := newCluster()
	a := o.assertions(t)
	text := sign(t, jose.RS256, "rsa", testKeys()["rsa"], asserted())
	trusted := broker.AssertionKeys{JWKSURI: issuerURL + "/jwks"}
	verify := func(keys broker.AssertionKeys) error {
		_, err := a.Verify(t.Context(), text, keys)
		return err
	}
	if err := verify(trusted); err != nil {
		t.Fatal(err)
	}
	// More key sets than are kept do not displace the one that an operator named.
	for n := range 1100 {
		if err := verify(broker.AssertionKeys{JWKSURI: fmt.Sprintf("https://h%d.test/jwks", n), Untrusted: true}); err != nil {
			t.Fatal(n, err)
		}
	}
	for n, asked := range map[int]int{-1: 0, 1099: 0, 0: 1} {
		keys := broker.AssertionKeys{JWKSURI: fmt.Sprintf("https://h%d.test/jwks", n), Untrusted: true}
		if n < 0 {
			keys = trusted
		}
		before := o.asked("/jwks")
		if err := verify(keys); err != nil || o.asked("/jwks")-before != asked {
			t.Errorf("source %d: %v, %d requests", n, err, o.asked("/jwks")-before)
		}
	}
	// A host is not asked for more and more key sets.
	refused := 0
	for n := range 50 {
		if err := verify(broker.AssertionKeys{JWKSURI: fmt.Sprintf("https://victim.test/jwks?%d", n), Untrusted: true}); err != nil {
			refused++
		}
	}
	if refused < 25 {
		t.Errorf("%d of 50 requests to one host were refused", refused)
	}
	o.publish(public("rsa", "rsa"), map[string]any{"kty": "none", "kid": strings.Repeat("k", 64<<10)})
	if err := verify(broker.AssertionKeys{JWKSURI: "https://large.test/jwks", Untrusted: true}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a large set: %v", err)
	}
	if err := verify(broker.AssertionKeys{JWKSURI: issuerURL + "/jwks?operator"}); err != nil {
		t.Errorf("a large set that an operator named: %v", err)
	}
	if err := verify(broker.AssertionKeys{Issuer: issuerURL, Untrusted: true}); err == nil || o.asked(wellKnown) != 0 {
		t.Errorf("an issuer that a client named: %v", err)
	}
	if logs := o.logs.String(); !strings.Contains(logs, "level=INFO") || strings.Count(logs, "level=WARN") != 1 { // the operator's large set
		t.Errorf("a client's mistakes are warnings:\n%.2000s", logs)
	}
}
