package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// Restored is a store that was filled from a backup, and what it needs before it may serve.
type Restored struct {
	Store  store.Store
	Ledger Ledger
	Clock  Clock
	// AccessLife is the longest life of an access token.
	AccessLife time.Duration
	// Replaced is the store that it takes the place of; nil: none, or none that can be read.
	Replaced store.Reader
}

// SignOut ends every session and token that either store knows: the floor epoch rises above
// every one that was given, and the ledger holds the one event that tells it.
func (r Restored) SignOut(ctx context.Context) (epoch int64, err error) {
	floor, rev, err := readFloor(ctx, r.Store)
	if err != nil {
		return 0, err
	}
	if r.Replaced != nil {
		old, _, err := readFloor(ctx, r.Replaced)
		if err != nil {
			return 0, fmt.Errorf("in the replaced store: %w", err)
		}
		floor.Last, floor.MaxExp = max(floor.Last, old.Last), max(floor.MaxExp, old.MaxExp)
	}
	now := r.Clock.Now()
	floor = floor.draw(now, revocation.KindAll)
	value, err := json.Marshal(floor)
	if err != nil {
		return 0, fmt.Errorf("encoding the floor: %w", err)
	}
	change := store.Change{
		Writes: []store.Write{{Key: floorKey, Value: value, Expect: rev}},
		Events: []revocation.Event{{
			Kind: revocation.KindAll, At: now.Unix(), Reason: revocation.ReasonRestore, Epoch: floor.Epoch,
			ExpiresAt: lastExpiry(floor, now, r.AccessLife),
		}},
	}
	if err := r.Store.Commit(ctx, []store.Change{change}, r.Ledger.Seal)[0]; err != nil {
		return 0, fmt.Errorf("raising the floor: %w", err)
	}
	r.Ledger.Committed()
	return floor.Epoch, nil
}
