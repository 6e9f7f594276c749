package operator

import (
	"context"
	"fmt"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/revocation"
)

// KeyRevoked is the answer to RevokeKey. The revocation is durable if there is no error.
type KeyRevoked struct {
	Revoked
	Purpose   string `json:"purpose,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	// Successor is the key that signs instead. It is empty if the revoked key did not sign.
	Successor string `json:"successor,omitempty"`
}

// RevokeKey marks a key as compromised, permanently, and revokes every token that was signed with it
// in all services. No session ends: the next refresh returns a token of the successor. The keyring is
// changed first, then the event is recorded. After a crash between the two, calling RevokeKey again
// records the event; until then the key is in the answer of the catch-up, which each service requests when it
// learns of the broker's restart. An empty reason is key_compromise. Errors: CodeUnknownKey,
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
		return KeyRevoked{}, &broker.Error{Code: broker.CodeUnknownKey, Message: "No signing key has this kid; list the keys to find it."}
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	key, err := svc.cfg.Keys.Compromise(ctx, kid)
	if err != nil {
		return KeyRevoked{}, commit.AppError(ctx, "compromising a key", err)
	}
	// The key is marked as compromised, so the event is recorded even if the caller no longer waits.
	recorded, seq, err := svc.recordKey(context.WithoutCancel(ctx), kid, why, req.Operator)
	if err != nil {
		return KeyRevoked{}, commit.AppError(ctx, "recording a compromised key: the key is out of use and the broker refuses its tokens; repeat the request to notify the services", err)
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

// recordKey records the event of a compromised key, unless a live one is on record.
func (svc *Service) recordKey(ctx context.Context, kid string, reason revocation.Reason, by string) (recorded bool, seq uint64, err error) {
	known, ok, err := svc.cfg.Ledger.Find(ctx, revocation.KindKID, kid)
	if err != nil {
		return false, 0, fmt.Errorf("asking the ledger: %w", err)
	}
	if ok && known.ExpiresAt != 0 { // without an expiry it comes only from the keyring
		return false, 0, nil
	}
	seq, err = svc.path.Record(ctx, []revocation.Event{{Kind: revocation.KindKID, Value: kid, Reason: reason, By: by}})
	return err == nil, seq, err
}
