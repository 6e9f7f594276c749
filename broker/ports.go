package broker

import (
	"context"
	"time"

	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Signer signs access tokens. The keyring implements it: readers use an immutable
// snapshot, so that a Signer is safe for concurrent use and never waits for a rotation.
type Signer interface {
	// SignAccessToken returns claims (a JSON object) as a compact JWS of type at+jwt. The error is an
	// [*Error] with CodeUnavailable while [Secrets.Outdated] returns one.
	SignAccessToken(ctx context.Context, claims []byte) (string, error)
	// SignIDToken returns the claims that build returns as a compact JWS of type JWT, signed by the key of access tokens.
	// algorithm is the alg of the signature, on which at_hash depends (OpenID Connect Core 1.0 §3.1.3.6). The errors are those of
	// build and of SignAccessToken.
	SignIDToken(ctx context.Context, build func(algorithm string) (claims []byte, err error)) (string, error)
}

// Secrets derives symmetric keys from the master secrets.
type Secrets interface {
	// Keys returns the keys of a purpose: the current one first, then those that are still accepted.
	// Callers must not change them.
	Keys(purpose string) [][]byte
	// Outdated returns an [*Error] with CodeUnavailable while keys may be missing that other brokers of the
	// store already use, otherwise nil. It is called before a token is checked: until it returns nil, a
	// token with an unknown key is not known to be forged.
	Outdated() error
}

// Ledger is the durable record of revocations. Only the committer calls Seal and Committed, in
// turn.
type Ledger interface {
	// Seal returns the ledger's writes for the events accepted in this commit.
	Seal(accepted []revocation.Event) ([]store.Write, error)
	// Committed is called once the sealed writes are on disk. It adds the events to the broker's own
	// denylist, then moves the head, and returns the new head.
	Committed() (seq uint64)
	// Origin returns the origin of the broker's present run, whose batches have the sequence numbers of Committed and
	// Head. On a store of one broker it never changes.
	Origin() string
	// Head returns the last committed sequence number.
	Head() uint64
	// Rejoin begins a new run of the broker on a store that it shares with others, after a commit was refused with
	// [store.ErrFenced]. If the present run has not ended, it does nothing. Only the committer calls it, never during
	// a commit. On a store of one broker it is never needed.
	Rejoin(ctx context.Context) error
	// Heads returns the last batch of each origin on record that has one, once the broker's own denylist has every event
	// that any broker recorded before the call. On a store of one broker it returns at once. It is safe for
	// concurrent use.
	Heads(ctx context.Context) (map[string]uint64, error)
	// Find returns the strongest event on record of a kind and value. It is safe for concurrent use.
	Find(ctx context.Context, kind revocation.Kind, value string) (revocation.Recorded, bool, error)
}

// Broadcast reports whether a recorded batch was sent.
type Broadcast interface {
	// Flushed waits until the batch of that origin with that sequence number was handed to the
	// network, or until ctx ends. It reports whether the batch was handed over. For the sequence number
	// zero, which names no batch, the result is true. For an origin that is no longer the broker's own it is false.
	Flushed(ctx context.Context, origin string, seq uint64) bool
}

// Receipts are the reports of services about the batches that they applied. Implementations must be safe for concurrent use.
type Receipts interface {
	// Expect begins a wait. It is called before the commit, whose batch then asks services for receipts.
	Expect() ReceiptWait
}

// ReceiptWait is one wait, for one caller.
type ReceiptWait interface {
	// Applied waits until every known service has applied the batches of each origin up to that sequence number, or
	// until ctx ends. Times are measured from Expect.
	Applied(ctx context.Context, heads map[string]uint64) ReceiptSummary
	// Done ends the wait. It may be called without Applied.
	Done()
}

// Denylist is the broker's own denylist. It contains every acknowledged revocation.
type Denylist interface {
	Revoked(s revocation.Subject) bool
}

// Clock is the broker's clock, which never goes back (docs/design.md §7).
type Clock interface {
	Now() time.Time
	// RecordedTimeFloor returns a time (Unix s) before which Now will never be, not even after a
	// restart. Anything that has ended by that time stays ended.
	RecordedTimeFloor() int64
}

// Passwords hashes and checks passwords. It is deliberately slow, and bounds the work in progress.
type Passwords interface {
	Hash(ctx context.Context, plain string) (string, error)
	// Verify reports whether plain matches the hash encoded. If needsRehash is true, the caller should store a new
	// hash under the current parameters.
	Verify(ctx context.Context, caller password.Caller, plain, encoded string) (ok, needsRehash bool, err error)
	// VerifyUnknown takes as long as Verify, for a user who does not exist.
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

// Keys is the part of the keyring that the broker changes. Implementations must be safe for concurrent use.
type Keys interface {
	// Compromise marks a key as compromised, permanently and durably: once it returns, nothing is signed
	// or published with the key. Repeating it is not an error. For a key that never existed, the error
	// is an [*Error] with CodeUnknownKey.
	Compromise(ctx context.Context, kid string) (CompromisedKey, error)
}

// CompromisedKey is the result of compromising a key.
type CompromisedKey struct {
	Purpose, Algorithm string
	// Successor is the key that signs instead, or "" if the compromised key no longer signed.
	Successor string
	// Changed is false if the key was compromised before.
	Changed bool
}

// Observer is notified of commits, for metrics. Implementations must be safe for concurrent use.
type Observer interface {
	// Committed is called after each transaction of the use cases, with the number of its changes, without those that
	// have to be committed again, and the events that it recorded, none if it failed. It must not keep the events.
	Committed(changes int, events []revocation.Event)
}
