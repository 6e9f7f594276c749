package validator

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/revocation"
)

// Policy says what a stale [Validator] does with a token.
type Policy string

const (
	// FailClosed refuses every token with [ErrStale] while stale.
	FailClosed Policy = "fail_closed"

	// Introspect asks the broker about each token that passes every other check
	// (RFC 7662): one request for a token at a time, with answers that count for a second.
	// When the broker does not answer either, the token is refused with [ErrStale].
	Introspect Policy = "introspect"

	// InsecureServeStale accepts tokens by what is known, however old that is: a token that
	// was revoked since, or that expired while the machine was suspended, is accepted.
	// It MUST NOT be used where a revocation has to count. Calls with a [MaxStaleness] of
	// their own are not served stale.
	InsecureServeStale Policy = "serve_stale"
)

func (p Policy) known() bool {
	return p == FailClosed || p == Introspect || p == InsecureServeStale
}

var (
	errStale      = refuse(ErrStale, "the last news from the broker is too old")
	errIncomplete = refuse(ErrStale, "the denylist was too small, and the broker cannot be asked")
	errRevoked    = refuse(ErrRevoked, "by the denylist")
	errNotActive  = refuse(ErrRevoked, "by the broker's introspection")
)

// tolerates reports whether anything but a refusal can come of a token while stale. own is
// the call's own bound, or 0.
func (v *Validator) tolerates(own time.Duration) bool {
	return v.onStale == Introspect || v.onStale == InsecureServeStale && own == 0
}

// current checks what can change from one request to the next. settled says that the
// verdict may be stored: it rests on the denylist alone, fresh and complete. The denylist
// is asked after the clock: a token that is both expired and revoked is expired, for good.
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
	default: // an eviction must not un-revoke, whatever the policy is
		return false, v.confirm(ctx, text, own, errIncomplete)
	}
}

// confirm asks the broker about a token that everything else speaks for. Without an answer
// the refusal is the given one.
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
