package upstream_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/store"
	"tokenbroker/upstream"
)

func (o *op) assertions(t *testing.T) *upstream.Assertions {
	t.Helper()
	a := upstream.NewAssertions(upstream.AssertionsConfig{Transport: o, Logger: slog.New(slog.NewTextHandler(&o.logs, nil))})
	t.Cleanup(a.Close)
	return a
}

// newCluster returns an issuer whose document has what that of a Kubernetes API server has: no endpoints but the keys'.
func newCluster() *op {
	o := newOP()
	o.discovery = map[string]any{
		"issuer": issuerURL, "jwks_uri": issuerURL + "/jwks", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	}
	return o
}

func setOf(keys ...any) json.RawMessage { return encode(map[string]any{"keys": keys}) }

// sources are the three ways to name the same keys.
func sources(o *op) map[string]broker.AssertionKeys {
	return map[string]broker.AssertionKeys{
		"in the record": {JWKS: setOf(o.jwks...)}, "at a URI": {JWKSURI: issuerURL + "/jwks"}, "of an issuer": {Issuer: issuerURL},
		"of an issuer, at a URI": {Issuer: "https://unreachable.test", JWKSURI: issuerURL + "/jwks"},
	}
}

func asserted() map[string]any {
	return map[string]any{"iss": "svc", "sub": "svc", "aud": "https://auth.test", "jti": "j1", "exp": 1_900_000_000, "iat": 1_800_000_000, "nbf": 1_800_000_001.5}
}

func TestAssertionsAreVerifiedByTheirKeys(t *testing.T) {
	keys := testKeys()
	o := newCluster()
	o.publish(public("rsa", "rsa"), public("rsa2", "rsa2"), public("ec", "ec"), public("ed", "ed"), public("ec384", "ec384"))
	a := o.assertions(t)
	want := broker.Assertion{
		Issuer: "svc", Subject: "svc", Audience: []string{"https://auth.test"}, ID: "j1",
		ExpiresAt: time.Unix(1_900_000_000, 0), IssuedAt: time.Unix(1_800_000_000, 0), NotBefore: time.Unix(1_800_000_001, 0),
	}
	for name, from := range sources(o) {
		for kid, alg := range map[string]jose.SignatureAlgorithm{"rsa": jose.RS256, "rsa2": jose.PS256, "ec": jose.ES256, "ed": jose.EdDSA} {
			got, err := a.Verify(t.Context(), sign(t, alg, kid, keys[kid], asserted()), from)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s, %s: %v %s", name, alg, err, diff)
			}
		}
		got, err := a.Verify(t.Context(), signPayload(t, jose.ES256, "", keys["ec"], "client-authentication+jwt", encode(map[string]any{"aud": []string{"a", "b"}})), from)
		if err != nil || !cmp.Equal(got, broker.Assertion{Type: "client-authentication+jwt", Audience: []string{"a", "b"}}) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	if o.asked("/jwks") != 2 || o.asked(wellKnown) != 1 {
		t.Errorf("%d and %d requests", o.asked("/jwks"), o.asked(wellKnown))
	}
}

func TestAssertionsRefused(t *testing.T) {
	keys := testKeys()
	o := newCluster()
	o.publish(public("rsa", "rsa"), public("rsa2", "rsa2"), public("ec", "ec"))
	a := o.assertions(t)
	der, err := x509.MarshalPKIXPublicKey(keys["rsa"].Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	asJWK := encode(jose.JSONWebKey{Key: keys["rsa"].Public(), KeyID: "rsa"})
	segment := base64.RawURLEncoding.EncodeToString
	unsigned := segment([]byte(`{"alg":"none"}`)) + "." + segment(encode(asserted())) + "."
	good := sign(t, jose.ES256, "ec", keys["ec"], asserted())
	parts := strings.Split(good, ".")
	for name, text := range map[string]string{
		"alg none":                         unsigned,
		"alg none with a signature":        unsigned + parts[2],
		"HS256 with the public key as PEM": sign(t, jose.HS256, "rsa", asPEM, asserted()),
		"HS256 with the public key as DER": sign(t, jose.HS256, "rsa", der, asserted()),
		"HS256 with the public key as JWK": sign(t, jose.HS256, "rsa", asJWK, asserted()),
		"unknown kid":                      sign(t, jose.ES256, "new", keys["ec"], asserted()),
		"kid of another key":               sign(t, jose.RS256, "rsa", keys["rsa2"], asserted()),
		"kid of a key of another kind":     sign(t, jose.RS256, "ec", keys["rsa"], asserted()),
		"another key":                      sign(t, jose.EdDSA, "ed", keys["ed"], asserted()),
		"no kid, and two keys":             sign(t, jose.RS256, "", keys["rsa"], asserted()),
		"payload changed":                  parts[0] + "." + segment(encode(map[string]any{"iss": "svc"})) + "." + parts[2],
		"not strict base64url":             good[:len(good)-1] + "_",
		"line feed":                        good + "\n",
		"two segments":                     parts[0] + "." + parts[1],
		"empty":                            "",
		"longer than any token":            strings.Repeat("a", 70<<10),
		"iss twice":                        signPayload(t, jose.ES256, "ec", keys["ec"], nil, []byte(`{"iss":"svc","iss":"svc"}`)),
		"names that differ only in case":   signPayload(t, jose.ES256, "ec", keys["ec"], nil, []byte(`{"sub":"svc","Sub":"svc"}`)),
		"not an object":                    signPayload(t, jose.ES256, "ec", keys["ec"], nil, []byte(`[]`)),
		"exp is a string":                  signPayload(t, jose.ES256, "ec", keys["ec"], nil, []byte(`{"exp":"1900000000"}`)),
		"aud has a number":                 signPayload(t, jose.ES256, "ec", keys["ec"], nil, []byte(`{"aud":["a",1]}`)),
		"jti is a number":                  signPayload(t, jose.ES256, "ec", keys["ec"], nil, []byte(`{"jti":1}`)),
		"typ is a number":                  signPayload(t, jose.ES256, "ec", keys["ec"], 1, encode(asserted())),
	} {
		for from, source := range sources(o) {
			if got, err := a.Verify(t.Context(), text, source); !errors.Is(err, broker.ErrAssertion) || !cmp.Equal(got, broker.Assertion{}) {
				t.Errorf("%s, keys %s: %+v %v", name, from, got, err)
			} else if text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("%s: the error has the assertion", name)
			}
		}
	}
}

// Keys in a client's record that cannot be used are the broker's failure, and fail closed.
func TestUnusableKeysOfARecord(t *testing.T) {
	o := newCluster()
	a := o.assertions(t)
	text := sign(t, jose.ES256, "ec", testKeys()["ec"], asserted())
	private := jose.JSONWebKey{Key: testKeys()["ec"], KeyID: "ec"}
	for name, set := range map[string]json.RawMessage{
		"not JSON": json.RawMessage("x"), "no key": setOf(), "a private key": setOf(private),
		"a symmetric key": setOf(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "ec"}),
		"too many keys":   setOf(make([]any, 101)...),
	} {
		if _, err := a.Verify(t.Context(), text, broker.AssertionKeys{JWKS: set}); err == nil || errors.Is(err, broker.ErrUpstreamUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key set with an unusable source is temporarily unavailable: an operator corrects it.
func TestSourcesOfKeysThatAreRefused(t *testing.T) {
	text := sign(t, jose.RS256, "rsa", testKeys()["rsa"], asserted())
	for name, c := range map[string]struct {
		from     broker.AssertionKeys
		document map[string]any
		says     string
	}{
		"plain http":             {from: broker.AssertionKeys{JWKSURI: "http://keys.test/jwks"}, says: "want https"},
		"link-local":             {from: broker.AssertionKeys{JWKSURI: "https://169.254.169.254/jwks"}, says: "link-local"},
		"unspecified":            {from: broker.AssertionKeys{JWKSURI: "https://0.0.0.0/jwks"}, says: "reserved"},
		"with a password":        {from: broker.AssertionKeys{JWKSURI: "https://u:p4ss@keys.test/jwks"}, says: "without user"},
		"keys on loopback":       {from: broker.AssertionKeys{Issuer: issuerURL}, document: map[string]any{"jwks_uri": "https://127.0.0.1/jwks"}, says: "jwks_uri in the client's workload"},
		"keys by http":           {from: broker.AssertionKeys{Issuer: issuerURL}, document: map[string]any{"jwks_uri": "http://keys.test/jwks"}, says: "want https"},
		"no keys":                {from: broker.AssertionKeys{Issuer: issuerURL}, document: map[string]any{"jwks_uri": ""}, says: "names no keys"},
		"another issuer":         {from: broker.AssertionKeys{Issuer: issuerURL}, document: map[string]any{"issuer": "https://evil.test"}, says: "names the issuer"},
		"no document":            {from: broker.AssertionKeys{Issuer: issuerURL + "/other"}, says: "no discovery document"},
		"issuer by http":         {from: broker.AssertionKeys{Issuer: "http://op.test"}, says: "want https"},
		"issuer without a value": {says: "absolute URL"},
	} {
		o := newCluster()
		for member, value := range c.document {
			o.discovery[member] = value
		}
		_, err := o.assertions(t).Verify(t.Context(), text, c.from)
		if err == nil || errors.Is(err, broker.ErrAssertion) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "p4ss") {
			t.Errorf("%s: %v", name, err)
		}
		if configured := strings.HasPrefix(name, "issuer "); errors.Is(err, broker.ErrUpstreamUnavailable) == configured {
			t.Errorf("%s: %v", name, err)
		}
		if o.asked("/jwks") != 0 {
			t.Errorf("%s: the keys were fetched", name)
		}
	}
}

func TestUnknownKIDsOfAssertionsDoNotHammerTheirIssuer(t *testing.T) {
	for _, name := range []string{"at a URI", "of an issuer"} {
		synctest.Test(t, func(t *testing.T) {
			o := newCluster()
			a, from := o.assertions(t), sources(o)[name]
			verify := func(kid, key string) error {
				_, err := a.Verify(t.Context(), sign(t, jose.RS256, kid, testKeys()[key], asserted()), from)
				return err
			}
			if err := verify("rsa", "rsa"); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					if err := verify(fmt.Sprint("k", i), "rsa2"); !errors.Is(err, broker.ErrAssertion) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := o.asked("/jwks"); n != 1 {
				t.Errorf("%s: %d fetches", name, n)
			}
			// After a rotation, the new key is fetched for its first assertion, and the old one is refused.
			o.publish(public("rsa2", "rsa2"))
			time.Sleep(11 * time.Second)
			if err := verify("rsa2", "rsa2"); err != nil {
				t.Errorf("%s, after the rotation: %v", name, err)
			}
			if err := verify("rsa", "rsa"); !errors.Is(err, broker.ErrAssertion) {
				t.Errorf("%s, the withdrawn key: %v", name, err)
			}
			if n := o.asked("/jwks"); n != 2 {
				t.Errorf("%s: %d fetches", name, n)
			}
		})
	}
}

func TestAssertionsWhileTheirIssuerIsDown(t *testing.T) {
	for name, paths := range map[string][]string{"at a URI": {"/jwks"}, "of an issuer": {wellKnown, "/jwks"}} {
		for _, path := range paths {
			synctest.Test(t, func(t *testing.T) {
				o := newCluster()
				a, from := o.assertions(t), sources(o)[name]
				text := sign(t, jose.RS256, "rsa", testKeys()["rsa"], asserted())
				down := func(answer func(*http.Request) (int, []byte)) {
					t.Helper()
					o.answer(path, answer)
					time.Sleep(2 * time.Second)
					before := o.asked(path)
					for _, outcome := range brokertest.AtOnce(20, func(int) (broker.Assertion, error) { return a.Verify(t.Context(), text, from) }) {
						if err := outcome.Err; !errors.Is(err, broker.ErrUpstreamUnavailable) || errors.Is(err, broker.ErrAssertion) {
							t.Errorf("%s, %s: %v", name, path, err)
						}
					}
					if n := o.asked(path) - before; n != 1 {
						t.Errorf("%s, %s: %d requests", name, path, n)
					}
				}
				down(status(503, ""))
				down(status(200, "x"))
				down(hang)
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := a.Verify(ctx, text, from); !errors.Is(err, broker.ErrUpstreamUnavailable) {
					t.Errorf("%s, %s, canceled: %v", name, path, err)
				}
				o.answer(path, nil)
				time.Sleep(10 * time.Second) // the request of the canceled call hangs for 5 s
				if _, err := a.Verify(t.Context(), text, from); err != nil {
					t.Errorf("%s, %s, up again: %v", name, path, err)
				}
				o.answer(path, status(503, "")) // known keys stay valid
				time.Sleep(2 * time.Hour)
				if _, err := a.Verify(t.Context(), text, from); err != nil {
					t.Errorf("%s, %s, down again: %v", name, path, err)
				}
			})
		}
	}
}

// The keys of at most 1,024 sources are kept.
func TestSourcesOfKeysAreBounded(t *testing.T) {
	o := newCluster()
	a := o.assertions(t)
	text := sign(t, jose.RS256, "rsa", testKeys()["rsa"], asserted())
	verify := func(n int) {
		t.Helper()
		if _, err := a.Verify(t.Context(), text, broker.AssertionKeys{JWKSURI: fmt.Sprintf("%s/jwks?%d", issuerURL, n)}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 1025 {
		verify(n)
	}
	verify(1024)
	if n := o.asked("/jwks"); n != 1025 {
		t.Errorf("%d fetches", n)
	}
	verify(0)
	if n := o.asked("/jwks"); n != 1026 {
		t.Errorf("%d fetches; the first source was still kept", n)
	}
}

// TestClientsAuthenticateByAssertions has a real issuer on loopback and the use case of the broker.
func TestClientsAuthenticateByAssertions(t *testing.T) {
	var mu sync.Mutex
	served := setOf(public("rsa", "rsa"))
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("GET "+wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"response_types_supported":["id_token"]}`, srv.URL, srv.URL+"/openid/v1/jwks")
	})
	mux.HandleFunc("GET /openid/v1/jwks", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(served)
	})

	const own = "https://auth.test"
	h := brokertest.Start(t)
	verifier := upstream.NewAssertions(upstream.AssertionsConfig{Now: h.Clock.Now, Logger: slog.New(slog.DiscardHandler)})
	defer verifier.Close()
	svc := oauthclient.New(oauthclient.Config{
		Path: h.Path, Store: h.Store, Clock: h.Clock, Assertions: verifier, Issuer: own, Audience: []string{"demo-api"}, Logger: slog.New(slog.DiscardHandler),
	})
	for _, c := range []directory.ClientRecord{
		{V: 1, ID: "keys", JWKS: setOf(public("ec", "ec"), public("rsa", "rsa"), public("ed", "ed"))},
		{V: 1, ID: "uri", JWKSURI: srv.URL + "/openid/v1/jwks"},
		{V: 1, ID: "pod", Workloads: []broker.Workload{{Issuer: srv.URL, Subject: "system:serviceaccount:shop:orders", Audience: own}}},
	} {
		write, err := c.Write(0)
		if err != nil {
			t.Fatal(err)
		}
		if errs, _, err := h.Path.Commit(t.Context(), store.Change{Writes: []store.Write{write}}); err != nil || errs[0] != nil {
			t.Fatal(errs, err)
		}
	}
	jti := 0
	authenticate := func(id, text string) error {
		info, err := svc.AuthenticateClient(t.Context(), broker.ClientCredentials{ID: id, Assertion: text, AssertionType: broker.AssertionType}, brokertest.Request)
		if err == nil && info.ID != id {
			t.Errorf("authenticated %+v", info)
		}
		return err
	}
	signed := func(alg jose.SignatureAlgorithm, key string, changed map[string]any) string {
		jti++
		claims := map[string]any{"aud": own, "exp": h.Clock.Now().Add(time.Minute).Unix(), "jti": fmt.Sprint(jti)}
		for name, value := range changed {
			claims[name] = value
		}
		return sign(t, alg, key, testKeys()[key], claims)
	}
	for key, alg := range map[string]jose.SignatureAlgorithm{"ec": jose.ES256, "rsa": jose.PS256, "ed": jose.EdDSA} {
		text := signed(alg, key, map[string]any{"iss": "keys", "sub": "keys"})
		if err := authenticate("keys", text); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		brokertest.WantCode(t, authenticate("keys", text), broker.CodeInvalidClient)
	}
	brokertest.WantCode(t, authenticate("keys", signed(jose.ES384, "ec384", map[string]any{"iss": "keys", "sub": "keys"})), broker.CodeInvalidClient)
	if err := authenticate("uri", signed(jose.RS256, "rsa", map[string]any{"iss": "uri", "sub": "uri"})); err != nil {
		t.Error(err)
	}
	of := map[string]any{"iss": srv.URL, "sub": "system:serviceaccount:shop:orders", "aud": []string{own}}
	first := signed(jose.RS256, "rsa", of)
	for range 2 {
		if err := authenticate("pod", first); err != nil {
			t.Error(err)
		}
	}
	mu.Lock()
	served = setOf(public("rsa2", "rsa2"))
	mu.Unlock()
	h.Clock.Advance(11 * time.Second)
	if err := authenticate("pod", signed(jose.RS256, "rsa2", of)); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
	brokertest.WantCode(t, authenticate("pod", first), broker.CodeInvalidClient)
	srv.Close()
	h.Clock.Advance(25 * time.Hour) // longer than keys are kept
	brokertest.WantCode(t, authenticate("pod", signed(jose.RS256, "rsa2", of)), broker.CodeUpstreamUnavailable)
}
