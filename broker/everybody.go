package broker

import (
	"context"
	"fmt"

	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// SignOutEverybody raises the floor epoch: every session and token made before is dead,
// here when it returns and in the services as the one event reaches them.
func (b *Broker) SignOutEverybody(ctx context.Context, reason revocation.Reason) error {
	var epoch int64
	_, err := b.commitEpoch(ctx, func() (*store.Change, error) {
		drawn, err := b.drawEpoch(ctx, true)
		if err != nil {
			return nil, err
		}
		epoch = drawn.epoch
		return &store.Change{
			Writes: []store.Write{drawn.floor},
			Events: []revocation.Event{drawn.event(revocation.KindAll, "", reason)},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("signing everybody out: %w", err)
	}
	b.audit(ctx, "sign_out_everybody", Request{}, "reason", string(reason), "epoch", epoch)
	return nil
}
