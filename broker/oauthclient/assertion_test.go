package oauthclient_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// assertions accepts every assertion with the signature "good", and fails with err if that is set. Package upstream has the
// tests of signatures.
type assertions struct {
	mu    sync.Mutex // guards the fields below
	err   error
	asked []broker.AssertionKeys
}

func (a *assertions) Verify(_ context.Context, assertion string, keys broker.AssertionKeys) (broker.Assertion, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, keys)
	if a.err != nil {
		return broker.Assertion{}, a.err
	}
	parts := strings.Split(assertion, ".")
	if parts[2] != encoded("good") {
		return broker.Assertion{}, fmt.Errorf("%w: bad signature", broker.ErrAssertion)
	}
	var head struct{ Typ string }
	var claims struct {
		Iss, Sub, Jti string
		Aud           any
		Exp, Iat, Nbf int64
	}
	decode(parts[0], &head)
	decode(parts[1], &claims)
	out := broker.Assertion{Type: head.Typ, Issuer: claims.Iss, Subject: claims.Sub, ID: claims.Jti}
	switch aud := claims.Aud.(type) {
	case string:
		out.Audience = []string{aud}
	case []any:
		for _, one := range aud {
			out.Audience = append(out.Audience, one.(string))
		}
	}
	for seconds, into := range map[*int64]*time.Time{&claims.Exp: &out.ExpiresAt, &claims.Iat: &out.IssuedAt, &claims.Nbf: &out.NotBefore} {
		if *seconds != 0 {
			*into = time.Unix(*seconds, 0)
		}
	}
	return out, nil
}

func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func decode(segment string, into any) {
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		panic(err)
	}
}

type claims map[string]any

// jwt returns a token of the claims with changes; a nil value removes a claim. The claim "typ" becomes the header's, and
// "signature" the signature.
func jwt(base, changed claims) string {
	all := maps.Clone(base)
	maps.Copy(all, changed)
	head, signature := `{"alg":"ES256"}`, "good"
	if typ, found := all["typ"]; found {
		head = fmt.Sprintf(`{"alg":"ES256","typ":%q}`, typ)
	}
	if s, found := all["signature"]; found {
		signature = s.(string)
	}
	maps.DeleteFunc(all, func(name string, v any) bool { return v == nil || name == "typ" || name == "signature" })
	payload, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return encoded(head) + "." + encoded(string(payload)) + "." + encoded(signature)
}

func asserted(id, assertion string) broker.ClientCredentials {
	return broker.ClientCredentials{ID: id, Assertion: assertion, AssertionType: broker.AssertionType}
}

var ownJWKS = json.RawMessage(`{"keys":[]}`)

// withKeys starts a broker with the client svc, which has keys, and returns its valid claims.
func withKeys(t *testing.T) (*authn, *assertions, claims) {
	t.Helper()
	verifier := &assertions{}
	a := newAuthn(t, verifier, directory.ClientRecord{ID: "svc", JWKS: ownJWKS}, directory.ClientRecord{ID: "other", JWKS: ownJWKS},
		directory.ClientRecord{ID: "secret", SecretHash: hash("s3cret")}, directory.ClientRecord{ID: "public"},
		directory.ClientRecord{ID: "both", SecretHash: hash("s3cret"), JWKSURI: "https://both.test/jwks.json"},
		directory.ClientRecord{ID: "gone", JWKS: ownJWKS, Removed: true})
	now := a.Clock.Now()
	return a, verifier, claims{"iss": "svc", "sub": "svc", "aud": issuer, "jti": "j1", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
}

func TestAClientAuthenticatesByItsAssertion(t *testing.T) {
	a, verifier, good := withKeys(t)
	for i, sent := range []struct {
		id      string
		changed claims
	}{
		{"svc", nil},
		{"", nil},
		{"svc", claims{"aud": []string{issuer}}},
		{"svc", claims{"typ": "JWT"}},
		{"svc", claims{"typ": "client-authentication+jwt"}},
		{"svc", claims{"typ": "application/client-authentication+jwt"}},
		{"svc", claims{"iat": nil}},
		{"svc", claims{"nbf": good["iat"]}},
	} {
		changed := claims{"jti": fmt.Sprint("j", i)}
		maps.Copy(changed, sent.changed)
		if info := a.accepted(asserted(sent.id, jwt(good, changed))); info.ID != "svc" || info.Public {
			t.Errorf("%v: %+v", sent, info)
		}
	}
	if want := (broker.AssertionKeys{JWKS: ownJWKS}); !cmp.Equal(verifier.asked[0], want) {
		t.Errorf("verified by %+v", verifier.asked[0])
	}
	a.accepted(asserted("both", jwt(good, claims{"iss": "both", "sub": "both"})))
	if want := (broker.AssertionKeys{JWKSURI: "https://both.test/jwks.json"}); !cmp.Equal(verifier.asked[len(verifier.asked)-1], want) {
		t.Errorf("verified by %+v", verifier.asked[len(verifier.asked)-1])
	}
	a.accepted(secret("both", "s3cret"))
}

// RFC 7523 §3 and OpenID Connect Core 1.0 §9. The rows with "early" are refused before a signature is checked.
func TestRFC7523Section3RefusedAssertions(t *testing.T) {
	a, verifier, good := withKeys(t)
	for name, c := range map[string]struct {
		id      string
		changed claims
		early   bool
	}{
		"iss of another":                      {"svc", claims{"iss": "other"}, true},
		"sub of another":                      {"svc", claims{"sub": "other"}, false},
		"sub of another, without client_id":   {"", claims{"sub": "other"}, true},
		"client_id of another":                {"other", nil, true},
		"no iss":                              {"svc", claims{"iss": nil}, true},
		"no sub":                              {"svc", claims{"sub": nil}, false},
		"no sub and no client_id":             {"", claims{"sub": nil}, true},
		"iss is a number":                     {"svc", claims{"iss": 1}, true},
		"unknown client":                      {"nobody", claims{"iss": "nobody", "sub": "nobody"}, true},
		"removed client":                      {"gone", claims{"iss": "gone", "sub": "gone"}, true},
		"public client":                       {"public", claims{"iss": "public", "sub": "public"}, true},
		"client with only a secret":           {"secret", claims{"iss": "secret", "sub": "secret"}, true},
		"no aud":                              {"svc", claims{"aud": nil}, false},
		"no audience in aud":                  {"svc", claims{"aud": []string{}}, false},
		"aud is the token endpoint":           {"svc", claims{"aud": issuer + "/oauth2/token"}, false},
		"aud is the issuer with a slash":      {"svc", claims{"aud": issuer + "/"}, false},
		"aud is the issuer in capitals":       {"svc", claims{"aud": strings.ToUpper(issuer)}, false},
		"aud is the client":                   {"svc", claims{"aud": "svc"}, false},
		"aud is issuer and token endpoint":    {"svc", claims{"aud": []string{issuer, issuer + "/oauth2/token"}}, false},
		"aud is the issuer twice":             {"svc", claims{"aud": []string{issuer, issuer}}, false},
		"no exp":                              {"svc", claims{"exp": nil}, false},
		"expired":                             {"svc", claims{"exp": a.Clock.Now().Unix()}, false},
		"exp beyond the limit":                {"svc", claims{"exp": a.Clock.Now().Unix() + 661}, false},
		"iat in the future":                   {"svc", claims{"iat": a.Clock.Now().Unix() + 61}, false},
		"nbf in the future":                   {"svc", claims{"nbf": a.Clock.Now().Unix() + 61}, false},
		"no jti":                              {"svc", claims{"jti": nil}, false},
		"empty jti":                           {"svc", claims{"jti": ""}, false},
		"long jti":                            {"svc", claims{"jti": strings.Repeat("j", 257)}, false},
		"typ of an access token":              {"svc", claims{"typ": "at+jwt"}, false},
		"typ of a request object":             {"svc", claims{"typ": "oauth-authz-req+jwt"}, false},
		"bad signature":                       {"svc", claims{"signature": "bad"}, false},
		"longer than 16 KiB":                  {"svc", claims{"x": strings.Repeat("x", 12<<10)}, true},
		"two names that differ only in case":  {"svc", claims{"ISS": "svc"}, true},
		"nested deeper than any claim may be": {"svc", claims{"x": json.RawMessage(strings.Repeat("[", 99) + strings.Repeat("]", 99))}, true},
	} {
		verifier.asked = nil
		if refusal := a.refused(asserted(c.id, jwt(good, c.changed)), broker.CodeInvalidClient); refusal.Message != "Unknown client, or its credentials are wrong." {
			t.Errorf("%s: %v", name, refusal)
		}
		if (verifier.asked == nil) != c.early {
			t.Errorf("%s: verified by %v", name, verifier.asked)
		}
		if strings.Contains(a.audit.String(), encoded("good")) {
			t.Errorf("%s: the audit line has the assertion", name)
		}
	}
	a.accepted(asserted("svc", jwt(good, nil))) // no refusal used its jti up
}

func TestAssertionsAtTheLimitsAreAccepted(t *testing.T) {
	a, _, good := withKeys(t)
	now := a.Clock.Now().Unix()
	for i, changed := range []claims{
		{"exp": now + 1}, {"exp": now + 660}, {"iat": now + 60}, {"nbf": now + 60}, {"iat": now - 1e6}, {"jti": strings.Repeat("j", 256)},
	} {
		all := claims{"jti": fmt.Sprint("limit", i)}
		maps.Copy(all, changed)
		a.accepted(asserted("svc", jwt(good, all)))
	}
}

func TestRFC7521Section42ParametersOfAnAssertion(t *testing.T) {
	a, verifier, good := withKeys(t)
	for name, c := range map[string]struct {
		change func(*broker.ClientCredentials)
		code   broker.Code
	}{
		"no type":           {func(c *broker.ClientCredentials) { c.AssertionType = "" }, broker.CodeInvalidRequest},
		"no assertion":      {func(c *broker.ClientCredentials) { c.Assertion = "" }, broker.CodeInvalidRequest},
		"a secret":          {func(c *broker.ClientCredentials) { c.Secrets = []string{"s3cret"} }, broker.CodeInvalidRequest},
		"a secret, no type": {func(c *broker.ClientCredentials) { c.Secrets, c.AssertionType = []string{"s3cret"}, "" }, broker.CodeInvalidRequest},
		"another type": {func(c *broker.ClientCredentials) {
			c.AssertionType = strings.Replace(c.AssertionType, "jwt", "saml2", 1)
		}, broker.CodeInvalidClient},
		"type in capitals":    {func(c *broker.ClientCredentials) { c.AssertionType = strings.ToUpper(c.AssertionType) }, broker.CodeInvalidClient},
		"not a JWT":           {func(c *broker.ClientCredentials) { c.Assertion = "x" }, broker.CodeInvalidClient},
		"five segments":       {func(c *broker.ClientCredentials) { c.Assertion += ".x.x" }, broker.CodeInvalidClient},
		"not base64url":       {func(c *broker.ClientCredentials) { c.Assertion = "x.*.x" }, broker.CodeInvalidClient},
		"payload is not JSON": {func(c *broker.ClientCredentials) { c.Assertion = "x." + encoded("x") + ".x" }, broker.CodeInvalidClient},
		"payload is an array": {func(c *broker.ClientCredentials) { c.Assertion = "x." + encoded("[]") + ".x" }, broker.CodeInvalidClient},
		"iss twice":           {func(c *broker.ClientCredentials) { c.Assertion = "x." + encoded(`{"iss":"svc","iss":"svc"}`) + ".x" }, broker.CodeInvalidClient},
	} {
		sent := asserted("svc", jwt(good, nil))
		c.change(&sent)
		a.refused(sent, c.code)
		if verifier.asked != nil {
			t.Errorf("%s: verified by %v", name, verifier.asked)
		}
	}
	sent := asserted("svc", jwt(good, nil))
	sent.Secrets = []string{""} // omitted
	a.accepted(sent)
}

// A client with keys cannot use a secret, and one that only sends its id is refused.
func TestAClientWithKeysNeedsThem(t *testing.T) {
	a, _, _ := withKeys(t)
	a.refused(secret("svc", "s3cret"), broker.CodeInvalidClient)
	a.refused(secret("svc"), broker.CodeInvalidClient)
}

// While the keys cannot be read, no one knows whether the client is genuine: that is not the client's fault.
func TestUnreadableKeysAreATemporaryError(t *testing.T) {
	a, verifier, good := withKeys(t)
	verifier.err = fmt.Errorf("%w: discovery", broker.ErrUpstreamUnavailable)
	if refusal := a.refused(asserted("svc", jwt(good, nil)), broker.CodeUpstreamUnavailable); refusal.RetryAfter == 0 {
		t.Errorf("%+v", refusal)
	}
	verifier.err = errors.New("other")
	a.refused(asserted("svc", jwt(good, nil)), broker.CodeInternal)
	verifier.err = nil
	a.accepted(asserted("svc", jwt(good, nil)))
}

func TestRFC7523Section3AJTIIsUsedOnce(t *testing.T) {
	a, _, good := withKeys(t)
	a.accepted(asserted("svc", jwt(good, nil)))
	a.refused(asserted("svc", jwt(good, nil)), broker.CodeInvalidClient)
	a.refused(asserted("svc", jwt(good, claims{"exp": good["exp"].(int64) + 1})), broker.CodeInvalidClient)
	a.accepted(asserted("other", jwt(good, claims{"iss": "other", "sub": "other"}))) // another client's own
	a.Clock.Advance(time.Minute - time.Second)
	a.refused(asserted("svc", jwt(good, nil)), broker.CodeInvalidClient)
}

// The mark of an assertion is kept for an hour longer than the assertion, because another broker's clock may be behind.
func TestTheMarkOutlivesTheAssertion(t *testing.T) {
	a, _, good := withKeys(t)
	a.accepted(asserted("svc", jwt(good, nil)))
	for _, c := range []struct {
		advance time.Duration
		marks   int
	}{{time.Minute + 59*time.Minute, 1}, {2 * time.Minute, 0}} {
		a.Clock.Advance(c.advance)
		found, err := a.Store.List(t.Context(), "once.client_assertion.", "", 10)
		if err != nil || len(found) != c.marks {
			t.Errorf("after %v: %v %v", c.advance, found, err)
		}
	}
}

func TestOfTwoBrokersAtOnceOneAcceptsAnAssertion(t *testing.T) {
	engine := memstore.NewEngine(nil)
	var brokers []*authn
	for _, name := range []string{"a", "b"} {
		run, err := origins.Join(t.Context(), origins.Config{Engine: engine.Open(nil), Name: name, KEK: "k", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		h := brokertest.Start(t, func(c *brokertest.Config) { c.Store = run })
		brokers = append(brokers, authnOn(t, h, run, &assertions{}))
	}
	a := brokers[0]
	a.put(directory.ClientRecord{ID: "svc", JWKS: ownJWKS})
	now := a.Clock.Now()
	for i := range 20 {
		sent := asserted("svc", jwt(claims{"iss": "svc", "sub": "svc", "aud": issuer, "jti": fmt.Sprint(i), "exp": now.Add(time.Minute).Unix()}, nil))
		won := 0
		for _, outcome := range brokertest.AtOnce(4, func(n int) (broker.ClientInfo, error) { return brokers[n%2].authenticate(sent) }) {
			if outcome.Err == nil {
				won++
			} else {
				brokertest.WantCode(t, outcome.Err, broker.CodeInvalidClient)
			}
		}
		if won != 1 {
			t.Errorf("%d callers won", won)
		}
	}
}

const (
	cluster = "https://kubernetes.default.svc"
	pod     = "system:serviceaccount:shop:orders"
)

// withWorkloads starts a broker with the client svc, which has two workloads, and returns the claims of a token of the first one.
func withWorkloads(t *testing.T) (*authn, *assertions, claims) {
	t.Helper()
	verifier := &assertions{}
	a := newAuthn(t, verifier,
		directory.ClientRecord{ID: "svc", Workloads: []broker.Workload{
			{Issuer: cluster, Subject: pod, Audience: issuer},
			{Issuer: "https://ci.test", Subject: "repo:shop:main", Audience: "broker", JWKSURI: "https://ci.test/jwks"},
		}},
		directory.ClientRecord{ID: "other", Workloads: []broker.Workload{{Issuer: cluster, Subject: "system:serviceaccount:shop:other", Audience: issuer}}},
		directory.ClientRecord{ID: "damaged", Workloads: []broker.Workload{{Issuer: cluster, Subject: pod}}})
	now := a.Clock.Now()
	return a, verifier, claims{"iss": cluster, "sub": pod, "aud": []string{issuer}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "j1"}
}

func TestAWorkloadPresentsItsTokenUntilItExpires(t *testing.T) {
	a, verifier, good := withWorkloads(t)
	for range 3 {
		if info := a.accepted(asserted("svc", jwt(good, nil))); info.ID != "svc" || info.Public {
			t.Errorf("%+v", info)
		}
	}
	a.accepted(asserted("svc", jwt(good, claims{"jti": nil, "aud": issuer, "typ": "at+jwt"})))
	ci := claims{"iss": "https://ci.test", "sub": "repo:shop:main", "aud": "broker"}
	a.accepted(asserted("svc", jwt(good, ci)))
	want := []broker.AssertionKeys{{Issuer: cluster}, {Issuer: "https://ci.test", JWKSURI: "https://ci.test/jwks"}}
	if got := []broker.AssertionKeys{verifier.asked[0], verifier.asked[4]}; !cmp.Equal(got, want) {
		t.Errorf("verified by %+v", got)
	}
	if marks, err := a.Store.List(t.Context(), "once.", "", 10); err != nil || len(marks) > 0 {
		t.Errorf("%v %v", marks, err)
	}
	a.Clock.Advance(time.Hour - time.Second)
	a.accepted(asserted("svc", jwt(good, nil)))
	a.Clock.Advance(time.Second)
	a.refused(asserted("svc", jwt(good, nil)), broker.CodeInvalidClient)
}

func TestRefusedTokensOfWorkloads(t *testing.T) {
	a, verifier, good := withWorkloads(t)
	for name, c := range map[string]struct {
		id      string
		changed claims
		early   bool
	}{
		"another issuer":                     {"svc", claims{"iss": "https://evil.test"}, true},
		"issuer with a slash":                {"svc", claims{"iss": cluster + "/"}, true},
		"another subject":                    {"svc", claims{"sub": "system:serviceaccount:shop:other"}, true},
		"subject in capitals":                {"svc", claims{"sub": strings.ToUpper(pod)}, true},
		"no subject":                         {"svc", claims{"sub": nil}, true},
		"another audience":                   {"svc", claims{"aud": "https://other.test"}, true},
		"two audiences":                      {"svc", claims{"aud": []string{issuer, "https://other.test"}}, true},
		"no audience":                        {"svc", claims{"aud": nil}, true},
		"empty audience of a damaged record": {"damaged", claims{"aud": ""}, true},
		"subject of one, issuer of another":  {"svc", claims{"iss": "https://ci.test"}, true},
		"another client's":                   {"other", nil, true},
		"no client_id":                       {"", nil, true},
		"bad signature":                      {"svc", claims{"signature": "bad"}, false},
		"no exp":                             {"svc", claims{"exp": nil}, false},
		"expired":                            {"svc", claims{"exp": a.Clock.Now().Unix()}, false},
		"iat in the future":                  {"svc", claims{"iat": a.Clock.Now().Unix() + 61}, false},
		"nbf in the future":                  {"svc", claims{"nbf": a.Clock.Now().Unix() + 61}, false},
		"signed by the client itself":        {"svc", claims{"iss": "svc", "sub": "svc"}, true},
	} {
		verifier.asked = nil
		a.refused(asserted(c.id, jwt(good, c.changed)), broker.CodeInvalidClient)
		if (verifier.asked == nil) != c.early {
			t.Errorf("%s: verified by %v", name, verifier.asked)
		}
	}
}
