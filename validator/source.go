package validator

import (
	"context"

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
