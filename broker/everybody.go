package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// SignOutEverybody raises the floor epoch: every session and token made before is dead,
// here when it returns and in the services as the one event reaches them.
func (b *Broker) SignOutEverybody(ctx context.Context, reason revocation.Reason) error {
	var epoch int64
	err := b.retryConflicts(ctx, func() (*store.Change, error) {
		floor, rev, err := readFloor(ctx, b.cfg.Store)
		if err != nil {
			return nil, err
		}
		now := b.cfg.Clock.Now()
		epoch = max(floor.Last+1, now.UnixMilli())
		floor.Epoch, floor.Last = epoch, epoch
		value, err := json.Marshal(floor)
		if err != nil {
			return nil, fmt.Errorf("encoding the floor: %w", err)
		}
		return &store.Change{
			Writes: []store.Write{{Key: floorKey, Value: value, Expect: rev}},
			Events: []revocation.Event{{
				Kind: revocation.KindAll, At: now.Unix(), Reason: reason, Epoch: epoch,
				ExpiresAt: max(floor.MaxExp, now.Unix()) + int64(session.EventMargin/time.Second),
			}},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("signing everybody out: %w", err)
	}
	b.audit(ctx, "sign_out_everybody", Request{}, "reason", string(reason), "epoch", epoch)
	return nil
}
