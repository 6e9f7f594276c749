package validator

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

// source is where the validator gets its keys and its knowledge of revocations from:
// the syncer in a service, the broker itself for its own /auth/verify.
// Its methods may be called concurrently.
type source interface {
	// key gives the token key of that id. It fails with errUnknownKey when the issuer has
	// no such key and with errKeysUnavailable when that cannot be found out now.
	key(ctx context.Context, kid string) (verificationKey, error)
	// view gives the newest snapshot; it is never nil and never changed afterwards.
	view() *view
	// denylist gives what is revoked. Read view before the denylist: a verdict stored with
	// the view's version is then never newer than what it claims.
	denylist() *revocation.Denylist
}

var (
	// errUnknownKey: the issuer publishes no such key (or it was compromised).
	errUnknownKey = errors.New("unknown key id")
	// errKeysUnavailable: the key id is unknown and the issuer's keys could not be fetched
	// to make sure. An answer of 401 would be a guess: treat it as stale (503).
	errKeysUnavailable = errors.New("unknown key id, and the issuer's keys cannot be fetched")
)

// verificationKey is a public token key and the one algorithm that it is good for.
type verificationKey struct {
	kid    string
	alg    jose.SignatureAlgorithm
	public crypto.PublicKey
}

// view is an immutable snapshot of what is known, held behind one atomic pointer.
type view struct {
	// version of the denylist: it changed when an entry or the keys changed.
	version uint64
	// asOf is the latest monotonic time (see monotonic) of which it is known that
	// everything acknowledged before it is applied.
	asOf time.Duration
	// atMS is the broker's clock (Unix ms) at asOf: the broker's time now is
	// atMS + (monotonic() - asOf) in milliseconds.
	atMS int64
	// unproved says that asOf proves nothing now (no catch-up yet, a suspended machine or a
	// stepped clock, two stores for one issuer): stale, whatever asOf says.
	unproved bool
	// wallOffsetMS is the wall clock (Unix ms) minus monotonic() (ms) at the last reset. A
	// route with a bound of its own compares it with the clocks at each request: 250 ms
	// apart is stale.
	wallOffsetMS int64
	// maxLifetime is the issuer's access_token_max_lifetime.
	maxLifetime time.Duration
}

// fresh reports whether everything acknowledged more than bound before now is applied.
func (v *view) fresh(now, bound time.Duration) bool {
	return !v.unproved && now-v.asOf <= bound
}

// brokerMS gives the broker's clock (Unix ms) at the monotonic time now.
func (v *view) brokerMS(now time.Duration) int64 {
	return v.atMS + (now - v.asOf).Milliseconds()
}

var processBase = time.Now()

// monotonic is the time since the process began, by the monotonic clock.
func monotonic() time.Duration { return time.Since(processBase) }
