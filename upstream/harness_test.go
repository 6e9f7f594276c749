package upstream_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/upstream"
)

const issuerURL = "https://op.test"

// testKeys returns the keys of all tests. They are made once, because RSA keys are expensive.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	first, err1 := rsa.GenerateKey(rand.Reader, 2048)
	second, err2 := rsa.GenerateKey(rand.Reader, 2048)
	ec, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err4 := ed25519.GenerateKey(rand.Reader)
	ec384, err5 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ec521, err6 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	for _, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err != nil {
			panic(err)
		}
	}
	return map[string]crypto.Signer{"rsa": first, "rsa2": second, "ec": ec, "ed": ed, "ec384": ec384, "ec521": ec521}
})

// op is an OpenID provider of kind oidc without a network, so that it can run in a synctest bubble.
// Its fields are set before the first request, or under mu.
type op struct {
	mu        sync.Mutex
	discovery map[string]any
	jwks      []any
	// answers are the responses of paths that do not have the default response.
	answers  map[string]func(*http.Request) (int, []byte)
	typ      []string            // Content-Type of the responses; if nil, application/json
	requests map[string][]string // request bodies by path
	basic    []string            // Authorization headers of the token requests
	logs     bytes.Buffer
}

func newOP() *op {
	return &op{
		discovery: map[string]any{
			"issuer": issuerURL, "authorization_endpoint": issuerURL + "/authorize", "token_endpoint": issuerURL + "/token",
			"jwks_uri": issuerURL + "/jwks", "end_session_endpoint": issuerURL + "/logout?theme=dark",
		},
		jwks:    []any{jose.JSONWebKey{Key: testKeys()["rsa"].Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"}},
		answers: map[string]func(*http.Request) (int, []byte){}, requests: map[string][]string{},
	}
}

func (o *op) provider(t *testing.T, change func(*upstream.Config)) *upstream.Provider {
	t.Helper()
	cfg := upstream.Config{
		Name: "op", Issuer: issuerURL, ClientID: "client", ClientSecret: "s3cret-of-ours", Exchange: true, Transport: o,
		Logger: slog.New(slog.NewTextHandler(&o.logs, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	p, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// RoundTrip implements [http.RoundTripper].
func (o *op) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	o.mu.Lock()
	path := r.URL.Path
	o.requests[path] = append(o.requests[path], string(body))
	if path == "/token" {
		o.basic = append(o.basic, r.Header.Get("Authorization"))
	}
	answer, discovery, jwks := o.answers[path], o.discovery, o.jwks
	o.mu.Unlock()
	status, out := http.StatusNotFound, []byte("{}")
	switch {
	case answer != nil:
		status, out = answer(r)
	case path == "/.well-known/openid-configuration":
		status, out = http.StatusOK, encode(discovery)
	case path == "/jwks":
		status, out = http.StatusOK, encode(map[string]any{"keys": jwks})
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	typ := o.typ
	if typ == nil {
		typ = []string{"application/json"}
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": typ, "Location": {"https://elsewhere.test/"}},
		Body: io.NopCloser(bytes.NewReader(out)), ContentLength: -1, Request: r,
	}, nil
}

func (o *op) answer(path string, with func(*http.Request) (int, []byte)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers[path] = with
}

func (o *op) asked(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.requests[path])
}

// hang does not respond until the request's context ends.
func hang(r *http.Request) (int, []byte) {
	<-r.Context().Done()
	return 0, nil
}

func status(code int, body string) func(*http.Request) (int, []byte) {
	return func(*http.Request) (int, []byte) { return code, []byte(body) }
}

func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

// goodClaims returns the claims of a valid id token, modified by changes. A nil value removes a
// claim.
func goodClaims(changed map[string]any) map[string]any {
	claims := map[string]any{
		"iss": issuerURL, "sub": "ada-1", "aud": "client", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"nonce": "nonce-1", "email": "ada@example.org", "email_verified": true, "preferred_username": "ada",
	}
	maps.Copy(claims, changed)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, kid string, key any, claims map[string]any) string {
	t.Helper()
	return signPayload(t, alg, kid, key, nil, encode(claims))
}

// signPayload signs payload without changes. typ is the typ of the header. If nil, the header has
// none.
func signPayload(t *testing.T, alg jose.SignatureAlgorithm, kid string, key, typ any, payload []byte) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	if typ != nil {
		opts.WithHeader(jose.HeaderType, typ)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func signed(t *testing.T, changed map[string]any) string {
	t.Helper()
	return sign(t, jose.RS256, "rsa", testKeys()["rsa"], goodClaims(changed))
}

// atHash returns the at_hash (OIDC Core §3.1.3.6) for the algorithms with SHA-256.
func atHash(access string) string {
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// atHash512 returns the at_hash for Ed25519.
func atHash512(access string) string {
	sum := sha512.Sum512([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:32])
}
