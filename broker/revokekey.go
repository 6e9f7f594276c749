package broker

import (
	"context"
	"fmt"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

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

// KeyRevoked is the answer to RevokeKey: durable when there is no error.
type KeyRevoked struct {
	Revoked
	Purpose   string `json:"purpose,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	// Successor is the key that signs in its place; missing when this one did not sign.
	Successor string `json:"successor,omitempty"`
}

// RevokeKey marks a key compromised, for ever, and kills every token that was signed with it
// in all services; no session ends: the next refresh gives a token of the successor. The keyring is
// changed first, then the event is recorded. To ask again completes what a crash between
// the two left undone; until then the catch-up, which each service makes when it hears of a
// new start, names the key. An empty reason is key_compromise. Errors: CodeUnknownKey,
// CodeInvalidRevocation.
func (b *Broker) RevokeKey(ctx context.Context, kid, reason string, req Request) (KeyRevoked, error) {
	if reason == "" {
		reason = string(revocation.ReasonKeyCompromise)
	}
	why, err := parseReason(reason)
	if err != nil {
		return KeyRevoked{}, err
	}
	if name := referenceProblem(kid, maxRevokedValue); name != "" {
		return KeyRevoked{}, &Error{Code: CodeUnknownKey, Message: "There is no such key."}
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	key, err := b.cfg.Keys.Compromise(ctx, kid)
	if err != nil {
		return KeyRevoked{}, b.internal(ctx, "compromising a key", err)
	}
	// The key is dead now, whether or not the caller still waits.
	recorded, seq, err := b.recordKey(context.WithoutCancel(ctx), kid, why, req.Operator)
	if err != nil {
		return KeyRevoked{}, b.internal(ctx, "recording a compromised key: it is out of use, and its tokens are refused here; ask again", err)
	}
	changed := key.Changed || recorded
	b.audit(ctx, "key_revoke", req, "kid", kid, "purpose", key.Purpose, "successor", key.Successor, "reason", string(why), "changed", changed)
	return KeyRevoked{
		Revoked:   tell.revoked(ctx, Revoked{Kind: string(revocation.KindKID), Value: kid, Changed: changed}, seq),
		Purpose:   key.Purpose,
		Algorithm: key.Algorithm,
		Successor: key.Successor,
	}, nil
}

// recordKey records the event of a compromised key, unless one lives.
func (b *Broker) recordKey(ctx context.Context, kid string, reason revocation.Reason, by string) (recorded bool, seq uint64, err error) {
	known, ok, err := b.cfg.Ledger.Find(ctx, revocation.KindKID, kid)
	if err != nil {
		return false, 0, fmt.Errorf("asking the ledger: %w", err)
	}
	if ok && known.ExpiresAt != 0 { // without an end it is the keyring's word alone
		return false, 0, nil
	}
	floor, _, err := readFloor(ctx, b.cfg.Store)
	if err != nil {
		return false, 0, err
	}
	now := b.cfg.Clock.Now()
	result, err := b.committer.Ask(ctx, commitRequest{changes: []change{{Change: store.Change{Events: []revocation.Event{{
		Kind: revocation.KindKID, Value: kid, At: now.Unix(), Reason: reason, By: by,
		ExpiresAt: lastExpiry(floor, now, b.cfg.Policy.AccessLife),
	}}}}}})
	if err != nil {
		return false, 0, fmt.Errorf("committing: %w", err)
	}
	return result.errs[0] == nil, result.seq, result.errs[0]
}
