package upstream_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

func verifyIn(t *testing.T, p *upstream.Provider, alg jose.SignatureAlgorithm, kid, key string) error {
	t.Helper()
	_, err := p.VerifyTokens(t.Context(), broker.UpstreamTokens{IDToken: sign(t, alg, kid, testKeys()[key], goodClaims(nil))})
	return err
}

func (o *op) publish(keys ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.jwks = keys
}

func public(key, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: testKeys()[key].Public(), KeyID: kid}
}

// TestKnownKeysDoNotWaitForAProviderThatHangs checks that keys stay usable while they cannot be
// fetched, until they expire.
func TestKnownKeysDoNotWaitForAProviderThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		p := o.provider(t, nil)
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Minute)
		o.answer("/jwks", hang)
		start := time.Now()
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); err != nil || time.Since(start) > 300*time.Millisecond {
			t.Errorf("a key older than an hour, while the provider does not respond: %v after %v", err, time.Since(start))
		}
		time.Sleep(24 * time.Hour)
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); !errors.Is(err, broker.ErrUpstreamUnavailable) {
			t.Errorf("a key that was not fetched for a day: %v", err)
		}
		o.answer("/jwks", nil)
		time.Sleep(2 * time.Second)
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); err != nil {
			t.Errorf("after the provider recovered: %v", err)
		}
	})
}

// TestFailedFetchIsRetriedSoon checks that a short failure at the first login affects later logins
// only for a short time.
func TestFailedFetchIsRetriedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		o.answer("/jwks", status(503, ""))
		p := o.provider(t, nil)
		for range 20 {
			if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); !errors.Is(err, broker.ErrUpstreamUnavailable) {
				t.Fatalf("got %v", err)
			}
		}
		if n := o.asked("/jwks"); n != 1 {
			t.Errorf("%d requests at once", n)
		}
		o.answer("/jwks", nil)
		time.Sleep(1100 * time.Millisecond)
		if err := verifyIn(t, p, jose.RS256, "rsa", "rsa"); err != nil {
			t.Errorf("a second later: %v", err)
		}
	})
}

// TestKeysByKindAndKID checks that a kid is needed only if the set has several keys of a type (OIDC
// Core §10.1), and that keys of different types may share one (RFC 7517 §4.5).
func TestKeysByKindAndKID(t *testing.T) {
	for name, tc := range map[string]struct {
		published []any
		alg       jose.SignatureAlgorithm
		kid, key  string
		ok        bool
	}{
		"no kid, one key":                {[]any{public("rsa", "a")}, jose.RS256, "", "rsa", true},
		"no kid on either side":          {[]any{public("rsa", "")}, jose.RS256, "", "rsa", true},
		"no kid, one key of that kind":   {[]any{public("rsa", "a"), public("ec", "b")}, jose.ES256, "", "ec", true},
		"no kid, two keys of that kind":  {[]any{public("rsa", "a"), public("rsa2", "b")}, jose.RS256, "", "rsa", false},
		"no kid, none of that kind":      {[]any{public("rsa", "a")}, jose.ES256, "", "ec", false},
		"one kid, two kinds: the first":  {[]any{public("rsa", "a"), public("ec", "a")}, jose.RS256, "a", "rsa", true},
		"one kid, two kinds: the second": {[]any{public("rsa", "a"), public("ec", "a")}, jose.ES256, "a", "ec", true},
		"a kid that no key has":          {[]any{public("rsa", "")}, jose.RS256, "a", "rsa", false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			o.publish(tc.published...)
			err := verifyIn(t, o.provider(t, nil), tc.alg, tc.kid, tc.key)
			if tc.ok && err != nil || !tc.ok && !errors.Is(err, broker.ErrUpstreamToken) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestNewKeyWithoutKIDIsFetched checks that keys are fetched if a signature does not match the old
// key.
func TestNewKeyWithoutKIDIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOP()
		o.publish(public("rsa", ""))
		p := o.provider(t, nil)
		if err := verifyIn(t, p, jose.RS256, "", "rsa"); err != nil {
			t.Fatal(err)
		}
		o.publish(public("rsa2", ""))
		time.Sleep(11 * time.Second)
		if err := verifyIn(t, p, jose.RS256, "", "rsa2"); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if err := verifyIn(t, p, jose.RS256, "", "rsa"); !errors.Is(err, broker.ErrUpstreamToken) {
			t.Errorf("the old key: %v", err)
		}
	})
}

// TestCheckNamesKeysThatCannotBeUsed checks the report that doctor prints.
func TestCheckNamesKeysThatCannotBeUsed(t *testing.T) {
	o := newOP()
	o.publish(o.jwks[0], map[string]any{"kty": "RSA", "kid": "odd", "n": "AQAB", "e": "AQAB"})
	report, err := o.provider(t, nil).Check(t.Context())
	if err != nil || report.Usable != 1 || !strings.Contains(report.Unfit, "odd") {
		t.Errorf("%+v, %v", report, err)
	}
}
