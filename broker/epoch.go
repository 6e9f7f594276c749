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

// drawnEpoch is an epoch above every one ever given; it is given once floor is written.
type drawnEpoch struct {
	epoch int64
	floor store.Write
	// expires (Unix s) is when the last token that the epoch can hit is dead for everybody.
	expires int64
	now     time.Time
}

// drawEpoch draws the next epoch for a change that is being built; everybody makes it the
// floor's own. The change has to hold floor, so that no epoch is given twice.
func (b *Broker) drawEpoch(ctx context.Context, everybody bool) (drawnEpoch, error) {
	floor, rev, err := readFloor(ctx, b.cfg.Store)
	if err != nil {
		return drawnEpoch{}, err
	}
	now := b.cfg.Clock.Now()
	floor.Last = max(floor.Last+1, now.UnixMilli())
	if everybody {
		floor.Epoch = floor.Last
	}
	value, err := json.Marshal(floor)
	if err != nil {
		return drawnEpoch{}, fmt.Errorf("encoding the floor: %w", err)
	}
	// A refresh that was decided before this change may be committed after it: its exp is
	// not on record yet, but no later than a token's life from now.
	exp := max(floor.MaxExp, now.Add(b.cfg.Policy.AccessLife).Unix())
	return drawnEpoch{
		epoch: floor.Last, floor: store.Write{Key: floorKey, Value: value, Expect: rev},
		expires: exp + int64(session.EventMargin/time.Second), now: now,
	}, nil
}

// event is the revocation that goes with the epoch.
func (d drawnEpoch) event(kind revocation.Kind, value string, reason revocation.Reason) revocation.Event {
	return revocation.Event{Kind: kind, Value: value, At: d.now.Unix(), Reason: reason, Epoch: d.epoch, ExpiresAt: d.expires}
}

// commitEpoch commits what build returns, as [Broker.commitChange] does. All changes that draw
// an epoch write the floor, so they go one by one instead of meeting each other's conflicts.
func (b *Broker) commitEpoch(ctx context.Context, build func() (*store.Change, error)) (seq uint64, err error) {
	if err := b.epochs.Acquire(ctx, 1); err != nil {
		return 0, fmt.Errorf("waiting to draw an epoch: %w", err)
	}
	defer b.epochs.Release(1)
	return b.commitChange(ctx, build)
}
