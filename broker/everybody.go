package broker

import (
	"context"
	"fmt"

	"tokenbroker/revocation"
)

// SignOutEverybody raises the floor epoch: every session and token made before is dead,
// here when it returns and in the services as the one event reaches them.
func (b *Broker) SignOutEverybody(ctx context.Context, reason revocation.Reason) error {
	epoch, _, err := b.raiseFloor(ctx, reason, "")
	if err != nil {
		return fmt.Errorf("signing everybody out: %w", err)
	}
	b.audit(ctx, "sign_out_everybody", Request{}, "reason", string(reason), "epoch", epoch)
	return nil
}

// RevokeEverybody is [Broker.SignOutEverybody] on an operator's word: no refresh succeeds
// and no token is good that was made before. Errors: CodeInvalidRevocation.
func (b *Broker) RevokeEverybody(ctx context.Context, reason string, req Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	epoch, seq, err := b.raiseFloor(ctx, why, req.Operator)
	if err != nil {
		return Revoked{}, b.internal(ctx, "revoking everybody's tokens", err)
	}
	b.audit(ctx, "everybody_revoke", req, "reason", string(why), "epoch", epoch)
	return tell.revoked(ctx, Revoked{Kind: string(revocation.KindAll), Epoch: epoch, Changed: true}, seq), nil
}

func (b *Broker) raiseFloor(ctx context.Context, reason revocation.Reason, by string) (epoch int64, seq uint64, err error) {
	return b.end(ctx, ending{kind: revocation.KindAll, reason: reason, by: by})
}
