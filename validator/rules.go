package validator

import (
	"slices"
	"strings"
)

// rule is one thing that a token has to meet.
type rule[T any] struct {
	name  string
	check func(T) error
}

// headerRules are about the header of a token that is well formed.
var headerRules = []rule[*token]{
	{"typ", func(t *token) error {
		if strings.EqualFold(t.typ, "at+jwt") || strings.EqualFold(t.typ, "application/at+jwt") {
			return nil
		}
		return NewMismatch("typ", "at+jwt, an access token", t.typ)
	}},
	{"alg", func(t *token) error {
		if allowedAlgorithm(t.alg) {
			return nil
		}
		return NewMismatch("alg", "ES256, EdDSA, RS256 or PS256", t.alg)
	}},
	{"kid", func(t *token) error {
		if t.kid != "" && len(t.kid) <= maxKIDBytes {
			return nil
		}
		return NewMismatch("kid", "a key id of at most 256 bytes", t.kid)
	}},
}

// bearing is a token's claims at one moment, for a service.
type bearing struct {
	*Claims
	reading
	issuer    string
	audiences []string
}

// claimRules are about what never changes about a well-signed token. What they return is
// of the kind [ErrInvalid].
var claimRules = []rule[*bearing]{
	{"issuer", func(b *bearing) error {
		if b.Issuer == b.issuer {
			return nil
		}
		return NewMismatch("iss", b.issuer, b.Issuer)
	}},
	{"audience", func(b *bearing) error {
		if slices.ContainsFunc(b.Audience, func(a string) bool { return slices.Contains(b.audiences, a) }) {
			return nil
		}
		return NewMismatch("aud", strings.Join(b.audiences, " or "), b.Audience...)
	}},
	{"lifetime", func(b *bearing) error {
		switch lifetime := b.ExpiresAt.Sub(b.IssuedAt); {
		case lifetime < 0:
			return NewMismatch("exp", "a time after its iat "+instant(b.IssuedAt.UnixMilli()), instant(b.ExpiresAt.UnixMilli()))
		case lifetime > b.maxLifetime:
			return NewMismatch("lifetime", "at most "+b.maxLifetime.String()+", as the broker publishes", lifetime.String())
		}
		return nil
	}},
	{"iat", func(b *bearing) error {
		if b.IssuedAt.UnixMilli() <= b.nowMS+maxIssuedAhead.Milliseconds() {
			return nil
		}
		return NewMismatch("iat", "at most a minute after the broker's "+instant(b.nowMS), instant(b.IssuedAt.UnixMilli()))
	}},
	{"nbf", func(b *bearing) error {
		if b.NotBefore.IsZero() || b.NotBefore.UnixMilli() <= b.nowMS+maxIssuedAhead.Milliseconds() {
			return nil
		}
		return NewMismatch("nbf", "at most a minute after the broker's "+instant(b.nowMS), instant(b.NotBefore.UnixMilli()))
	}},
}

// unexpired is the rule that time breaks; of the kind [ErrExpired].
func unexpired(c *Claims, nowMS int64) error {
	if nowMS < c.ExpiresAt.UnixMilli() {
		return nil
	}
	return NewMismatch("exp", "a time after the broker's "+instant(nowMS), instant(c.ExpiresAt.UnixMilli()))
}
