package validator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Verdict is the result of a rule for a token.
type Verdict string

// The verdicts of a [Check].
const (
	Passed     Verdict = "ok"
	Refused    Verdict = "refused"
	NotChecked Verdict = "not_checked" // an earlier rule refused the token, or an input is missing
)

// Check is one rule of [Validator.Validate] and its verdict about a token.
type Check struct {
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// ExplainConfig says what to check a token against. Issuer is required.
type ExplainConfig struct {
	Issuer string
	// Audiences are the names of the service. If empty, the audience is not checked.
	Audiences []string
	// Scopes are the scopes that a route requires; see [tokenbroker/validator/httpauth.Scope]. If
	// empty, scopes are not checked.
	Scopes []string
	// JWKS is the broker's key set. If nil, the key set and the maximum lifetime of a token are
	// fetched from the issuer.
	JWKS []byte
	// HTTPClient fetches the key set and the lifetime. If nil, [http.DefaultClient] is used.
	HTTPClient *http.Client
	// Now is the broker's clock. If nil, [time.Now] is used.
	Now func() time.Time
	// Revoked returns the event that revokes the token, or "". If nil, revocation is not checked.
	Revoked func(ctx context.Context, c *Claims) (by string, err error)
}

// Explanation is the result of [Explain]. Header and Claims are copied from the token: do not
// trust them unless every check passed.
type Explanation struct {
	Header json.RawMessage `json:"header,omitempty"`
	Claims json.RawMessage `json:"claims,omitempty"`
	Checks []Check         `json:"checks"`
}

// Verdict returns Refused if a check refused the token, NotChecked if one could not be made,
// and otherwise Passed.
func (e *Explanation) Verdict() Verdict {
	worst := Passed
	for _, c := range e.Checks {
		switch c.Verdict {
		case Refused:
			return Refused
		case NotChecked:
			worst = NotChecked
		}
	}
	return worst
}

// Explain checks a token against the rules of [Validator.Validate] in their order, and
// continues after a rule that refuses it. It is for finding a fault, not for requests.
func Explain(ctx context.Context, text string, config ExplainConfig) *Explanation {
	x := &explainer{ExplainConfig: config}
	if x.Now == nil {
		x.Now = time.Now
	}
	x.run(ctx, text)
	return &x.Explanation
}

type explainer struct {
	ExplainConfig
	Explanation
}

func (x *explainer) add(rule string, verdict Verdict, detail string) {
	x.Checks = append(x.Checks, Check{Rule: rule, Verdict: verdict, Detail: detail})
}

// judge records a rule that refuses with err, or passes with detail.
func (x *explainer) judge(rule string, err error, detail string) bool {
	if err != nil {
		detail := err.Error()
		if m, ok := err.(*Mismatch); ok { //nolint:errorlint // the rule names the field: nothing else is left out
			detail = m.values()
		}
		x.add(rule, Refused, detail)
		return false
	}
	x.add(rule, Passed, detail)
	return true
}

func (x *explainer) run(ctx context.Context, text string) {
	t, err := takeApart(text)
	x.Header, x.Claims = readable(t.header), readable(t.payload)
	if !x.judge("form", err, "a compact JWS of two JSON objects and a signature") {
		for _, r := range headerRules {
			x.add(r.name, NotChecked, "the token cannot be read")
		}
		for _, rule := range []string{"key", "signature", "claims"} {
			x.add(rule, NotChecked, "the token cannot be read")
		}
		x.claims(ctx, nil, 0)
		return
	}
	for i, value := range []string{t.typ, t.alg, t.kid} {
		x.judge(headerRules[i].name, headerRules[i].check(&t), shown([]string{value}))
	}
	maxLifetime := x.signature(ctx, t)
	claims, err := newClaims(t)
	if !x.judge("claims", err, "every claim that an access token needs is there") {
		claims = nil
	}
	x.claims(ctx, claims, maxLifetime)
}

// readable returns a decoded part if it is JSON, and otherwise nil.
func readable(part string) json.RawMessage {
	if !json.Valid([]byte(part)) {
		return nil
	}
	return json.RawMessage(part)
}

// signature checks key and signature, and returns the longest life of a token, 0 if unknown.
func (x *explainer) signature(ctx context.Context, t token) time.Duration {
	set, from, err := x.keys(ctx)
	if err != nil {
		x.add("key", NotChecked, err.Error())
		x.add("signature", NotChecked, "without the broker's keys")
		return 0
	}
	key, known := set.keys[t.kid]
	if !known {
		x.judge("key", NewMismatch("kid", fmt.Sprintf("one of the %d keys of %s", len(set.keys), from), t.kid), "")
		x.add("signature", NotChecked, "without the key")
		return set.maxLifetime
	}
	x.add("key", Passed, "published by "+from)
	x.judge("signature", verifySignature(key, t), "by the key "+shown([]string{t.kid}))
	return set.maxLifetime
}

func (x *explainer) keys(ctx context.Context) (*keySet, string, error) {
	if x.JWKS != nil {
		_, keys, err := parseTokenKeys(x.JWKS)
		if err != nil {
			return nil, "", fmt.Errorf("reading the key set: %w", err)
		}
		return &keySet{keys: keys}, "the given key set", nil
	}
	set, err := newBrokerClient(x.Issuer, Client{}, x.HTTPClient).fetchTokenKeys(ctx, &keySet{})
	return set, x.Issuer, err
}

// claims checks the claims; c is nil if they cannot be read.
func (x *explainer) claims(ctx context.Context, c *Claims, maxLifetime time.Duration) {
	b := &claimsAtTime{Claims: c, issuer: x.Issuer, audiences: x.Audiences,
		reading: reading{nowMS: x.Now().UnixMilli(), maxLifetime: maxLifetime}}
	for _, r := range claimRules {
		switch {
		case c == nil:
			x.add(r.name, NotChecked, "the claims cannot be read")
		case r.name == "audience" && len(x.Audiences) == 0:
			x.add(r.name, NotChecked, "no audience to expect was given; the token has "+shown(c.Audience))
		case r.name == "lifetime" && maxLifetime == 0 && !c.ExpiresAt.Before(c.IssuedAt):
			x.add(r.name, NotChecked, "the broker's longest life is not known")
		default:
			x.judge(r.name, r.check(b), x.detail(r.name, c))
		}
	}
	if c == nil {
		x.add("exp", NotChecked, "the claims cannot be read")
		x.add("revocation", NotChecked, "the claims cannot be read")
		return
	}
	x.judge("exp", unexpired(c, b.nowMS), instant(c.ExpiresAt.UnixMilli()))
	x.revocation(ctx, c)
	for _, scope := range x.Scopes {
		var err error
		if !c.HasScope(scope) {
			err = NewMismatch("scope", scope, strings.Fields(c.Scope)...)
		}
		x.judge("scope", err, scope)
	}
}

// detail returns the value of a claim that passed.
func (x *explainer) detail(rule string, c *Claims) string {
	switch rule {
	case "issuer":
		return shown([]string{c.Issuer})
	case "audience":
		return shown(c.Audience)
	case "lifetime":
		return c.ExpiresAt.Sub(c.IssuedAt).String()
	case "iat":
		return instant(c.IssuedAt.UnixMilli())
	}
	if c.NotBefore.IsZero() {
		return "none"
	}
	return instant(c.NotBefore.UnixMilli())
}

var errNotAsked = errors.New("no broker was asked")

func (x *explainer) revocation(ctx context.Context, c *Claims) {
	by, err := "", errNotAsked
	if x.Revoked != nil {
		by, err = x.Revoked(ctx, c)
	}
	switch {
	case err != nil:
		x.add("revocation", NotChecked, err.Error())
	case by != "":
		x.add("revocation", Refused, "revoked by "+by)
	default:
		x.add("revocation", Passed, "nothing that is revoked hits it")
	}
}
