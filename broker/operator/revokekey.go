package operator

import (
	"context"
	"fmt"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/revocation"
)

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
func (svc *Service) RevokeKey(ctx context.Context, kid, reason string, req broker.Request) (KeyRevoked, error) {
	if reason == "" {
		reason = string(revocation.ReasonKeyCompromise)
	}
	why, err := parseReason(reason)
	if err != nil {
		return KeyRevoked{}, err
	}
	if name := referenceProblem(kid, maxRevokedValue); name != "" {
		return KeyRevoked{}, &broker.Error{Code: broker.CodeUnknownKey, Message: "There is no such key."}
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	key, err := svc.cfg.Keys.Compromise(ctx, kid)
	if err != nil {
		return KeyRevoked{}, commit.AppError(ctx, "compromising a key", err)
	}
	// The key is dead now, whether or not the caller still waits.
	recorded, seq, err := svc.recordKey(context.WithoutCancel(ctx), kid, why, req.Operator)
	if err != nil {
		return KeyRevoked{}, commit.AppError(ctx, "recording a compromised key: it is out of use, and its tokens are refused here; ask again", err)
	}
	changed := key.Changed || recorded
	svc.audit.Info(ctx, "key_revoke", req, "kid", kid, "purpose", key.Purpose, "successor", key.Successor, "reason", string(why), "changed", changed)
	return KeyRevoked{
		Revoked:   delivered(ctx, delivery, Revoked{Kind: string(revocation.KindKID), Value: kid, Changed: changed}, seq),
		Purpose:   key.Purpose,
		Algorithm: key.Algorithm,
		Successor: key.Successor,
	}, nil
}

// recordKey records the event of a compromised key, unless one lives.
func (svc *Service) recordKey(ctx context.Context, kid string, reason revocation.Reason, by string) (recorded bool, seq uint64, err error) {
	known, ok, err := svc.cfg.Ledger.Find(ctx, revocation.KindKID, kid)
	if err != nil {
		return false, 0, fmt.Errorf("asking the ledger: %w", err)
	}
	if ok && known.ExpiresAt != 0 { // without an end it is the keyring's word alone
		return false, 0, nil
	}
	seq, err = svc.path.Record(ctx, []revocation.Event{{Kind: revocation.KindKID, Value: kid, Reason: reason, By: by}})
	return err == nil, seq, err
}
