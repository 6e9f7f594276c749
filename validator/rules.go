package validator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenbroker/revocation"
)

// rule is one requirement for a token.
type rule[T any] struct {
	name  string
	check func(T) error
}

// headerRules are the requirements for the header of a well-formed token.
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

// claimsAtTime is a token's claims at one moment, for a service.
type claimsAtTime struct {
	*Claims
	reading
	issuer    string
	audiences []string
	// skipAudience accepts every audience.
	skipAudience bool
}

// claimRules are the requirements for a token with a valid signature that do not depend on time. Their
// errors are of the kind [ErrInvalid].
var claimRules = []rule[*claimsAtTime]{
	{"issuer", func(b *claimsAtTime) error {
		if b.Issuer == b.issuer {
			return nil
		}
		return NewMismatch("iss", b.issuer, b.Issuer)
	}},
	{"audience", func(b *claimsAtTime) error {
		if b.skipAudience || slices.ContainsFunc(b.Audience, func(a string) bool { return slices.Contains(b.audiences, a) }) {
			return nil
		}
		return NewMismatch("aud", strings.Join(b.audiences, " or "), b.Audience...)
	}},
	{"lifetime", func(b *claimsAtTime) error {
		switch lifetime := b.ExpiresAt.Sub(b.IssuedAt); {
		case lifetime < 0:
			return NewMismatch("exp", "a time after its iat "+instant(b.IssuedAt.UnixMilli()), instant(b.ExpiresAt.UnixMilli()))
		case lifetime > b.maxLifetime:
			return NewMismatch("lifetime", "at most "+b.maxLifetime.String()+", as the broker publishes", lifetime.String())
		}
		return nil
	}},
	{"iat", func(b *claimsAtTime) error {
		if b.IssuedAt.UnixMilli() <= b.nowMS+maxIssuedAhead.Milliseconds() {
			return nil
		}
		return NewMismatch("iat", "at most a minute after the broker's "+instant(b.nowMS), instant(b.IssuedAt.UnixMilli()))
	}},
	{"nbf", func(b *claimsAtTime) error {
		if b.NotBefore.IsZero() || b.NotBefore.UnixMilli() <= b.nowMS+maxIssuedAhead.Milliseconds() {
			return nil
		}
		return NewMismatch("nbf", "at most a minute after the broker's "+instant(b.nowMS), instant(b.NotBefore.UnixMilli()))
	}},
}

// unexpired is the requirement that depends on time. Its errors are of the kind [ErrExpired].
func unexpired(c *Claims, nowMS int64) error {
	if nowMS < c.ExpiresAt.UnixMilli() {
		return nil
	}
	return NewMismatch("exp", "a time after the broker's "+instant(nowMS), instant(c.ExpiresAt.UnixMilli()))
}

var (
	errStale      = refuse(ErrStale, "the last message from the broker is too old")
	errIncomplete = refuse(ErrStale, "the denylist was too small, and the broker cannot be asked")
	errRevoked    = refuse(ErrRevoked, "by the denylist")
	errNotActive  = refuse(ErrRevoked, "by the broker's introspection")
)

// tolerates reports whether a token can be accepted while stale. own is
// the call's own bound, or 0.
func (v *Validator) tolerates(own time.Duration) bool {
	return v.onStale == Introspect || v.onStale == InsecureServeStale && own == 0
}

// current checks what can change from one request to the next. settled says that the
// verdict may be stored: it rests only on the denylist, fresh and complete. The denylist
// is consulted after the clock: a token that is both expired and revoked is reported as expired.
func (v *Validator) current(ctx context.Context, text string, c *Claims, r reading, own time.Duration) (settled bool, err error) {
	if !r.fresh && !v.tolerates(own) {
		return false, errStale
	}
	if err := unexpired(c, r.nowMS); err != nil {
		return false, &refusal{kind: ErrExpired, cause: err}
	}
	switch verdict := v.backend.denylist().Judge(c.revocable(), r.nowMS); {
	case verdict == revocation.Revoked:
		return false, errRevoked
	case verdict == revocation.NotRevoked && r.fresh:
		return true, nil
	case verdict == revocation.NotRevoked && v.onStale == InsecureServeStale:
		return false, nil
	case verdict == revocation.NotRevoked:
		return false, v.confirm(ctx, text, own, errStale)
	default: // an eviction must not un-revoke, regardless of the policy
		return false, v.confirm(ctx, text, own, errIncomplete)
	}
}

// confirm asks the broker about a token that passed every other check. Without an answer it returns the
// given refusal.
func (v *Validator) confirm(ctx context.Context, text string, own time.Duration, without error) error {
	if v.introspector == nil {
		return without
	}
	bound := v.maxStaleness
	if own > 0 {
		bound = min(bound, own)
	}
	active, err := v.introspector.active(ctx, text, bound)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("waiting for the broker's answer: %w", ctx.Err())
	case err != nil:
		return &refusal{kind: ErrStale, detail: jobIntrospect, cause: err}
	case !active:
		return errNotActive
	}
	return nil
}

// maxIssuedAhead is how far iat may be in the future of the broker's clock.
const maxIssuedAhead = 60 * time.Second

// acceptable checks the requirements that do not depend on time, for a token with a valid signature.
func (v *Validator) acceptable(c *Claims, r reading) error {
	b := claimsAtTime{Claims: c, reading: r, issuer: v.issuer, audiences: v.audiences, skipAudience: v.skipAudience}
	for _, r := range claimRules {
		if err := r.check(&b); err != nil {
			return &refusal{kind: ErrInvalid, cause: err}
		}
	}
	return nil
}
