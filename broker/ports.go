package broker

import (
	"context"
	"time"

	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Signer signs access tokens. The keyring implements it; readers take an immutable
// snapshot, so it is safe for concurrent use and never waits for a rotation.
type Signer interface {
	// SignAccessToken returns claims (a JSON object) as a compact JWS of type at+jwt.
	SignAccessToken(ctx context.Context, claims []byte) (string, error)
}

// Secrets gives the symmetric keys that are derived from the master secrets by purpose,
// the current one first, then the ones that are still accepted. Callers must not change them.
type Secrets interface {
	Keys(purpose string) [][]byte
}

// Ledger is the durable record of revocations. Seal and
// Committed are called by the committer alone, in turn.
type Ledger interface {
	// Seal gives the ledger's writes for the events accepted in this commit.
	Seal(accepted []revocation.Event) ([]store.Write, error)
	// Committed is called once the sealed writes are on disk: the events enter the own
	// denylist, then the head moves. It returns the new head.
	Committed() (seq uint64)
	// Head is the last committed sequence number.
	Head() uint64
	// Find returns the strongest event on record of a kind and value; safe for concurrent use.
	Find(ctx context.Context, kind revocation.Kind, value string) (revocation.Recorded, bool, error)
}

// Broadcast tells whether a recorded batch went out.
type Broadcast interface {
	// Flushed waits until the batch with that sequence number was handed to the
	// network, or ctx ends; it reports whether it was.
	Flushed(ctx context.Context, seq uint64) bool
}

// Receipts is what services say of how far they are. Safe for concurrent use.
type Receipts interface {
	// Expect begins a wait, before the commit: its batch asks the services for receipts.
	Expect() ReceiptWait
}

// ReceiptWait is one wait, for one caller.
type ReceiptWait interface {
	// Applied waits until every service that is heard of now has applied the batch with that
	// sequence number, or ctx ends. The time counts from Expect.
	Applied(ctx context.Context, seq uint64) ReceiptSummary
	// Done ends the wait. It may be called without Applied.
	Done()
}

// Denylist is the broker's own denylist: whatever was acknowledged is in it.
type Denylist interface {
	Revoked(s revocation.Subject) bool
}

// Clock is the broker's clock: it never runs back (docs/design.md §7).
type Clock interface {
	Now() time.Time
	// RecordedTimeFloor (Unix s) is a time that Now will not be before again, also after a
	// restart: what ended by then stays ended.
	RecordedTimeFloor() int64
}

// Passwords hashes and checks passwords: deliberately slowly, and few at once.
type Passwords interface {
	Hash(ctx context.Context, plain string) (string, error)
	// Verify compares; needsRehash asks for a new hash under today's parameters.
	Verify(ctx context.Context, caller password.Caller, plain, encoded string) (ok, needsRehash bool, err error)
	// VerifyUnknown takes as long as Verify does, for a user who does not exist.
	VerifyUnknown(ctx context.Context, caller password.Caller, plain string) error
}

// Throttle delays guessing, per account and per address. An empty account is not an account: only
// the address is checked and charged.
type Throttle interface {
	// Allow reports whether a try may be made now, and if not, when. An allowed try counts
	// as a failure until Done is called for it, once.
	Allow(account, addr string) (retryAfter time.Duration, ok bool)
	Done(account, addr string, outcome throttle.Outcome)
	// Known reports whether a user signed in from addr recently. It does not depend on the
	// account that is tried, so that no answer shows which accounts exist.
	Known(addr string) bool
}

// Keys is the keyring, as far as the broker changes it. Safe for concurrent use.
type Keys interface {
	// Compromise marks a key dead for ever, durably: from its return on nothing is signed or
	// published with it. To repeat it is no error. An [*Error] of CodeUnknownKey for one that
	// never was.
	Compromise(ctx context.Context, kid string) (CompromisedKey, error)
}

// CompromisedKey is what became of a compromised key.
type CompromisedKey struct {
	Purpose, Algorithm string
	// Successor signs in its place; "" when the key did not sign any more.
	Successor string
	// Changed is false when it had been compromised before.
	Changed bool
}

// Observer is told what the committer did, for metrics. Safe for concurrent use.
type Observer interface {
	// Committed is called after each transaction of the use cases, with the number of changes
	// judged in it and the events recorded by it: none when it failed. It must not keep them.
	Committed(changes int, events []revocation.Event)
}
