package ledger

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/store"
)

// NewStoreID gives a store that was filled from a backup an id of its own, by which services
// notice that it is another one, and lifts its time floor to that of the store which it
// replaces (nil: none). It comes before [Open].
func NewStoreID(ctx context.Context, s store.Store, replaced store.Reader) (id string, err error) {
	floor, err := readTimeFloor(ctx, s)
	if err == nil && replaced != nil {
		var old int64
		old, err = readTimeFloor(ctx, replaced)
		floor = max(floor, old)
	}
	if err != nil {
		return "", fmt.Errorf("making another store of a ledger: %w", err)
	}
	id = newID()
	writes := []store.Write{{Key: storeKey, Value: encode(storeRecord{V: version, ID: id}), Blind: true}}
	if floor > 0 {
		writes = append(writes, store.Write{Key: timeFloorKey, Value: encode(timeFloorRecord{V: version, TimeFloor: floor}), Blind: true})
	}
	if err := s.Commit(ctx, []store.Change{{Writes: writes}}, nil)[0]; err != nil {
		return "", fmt.Errorf("making another store of a ledger: %w", err)
	}
	return id, nil
}

// readTimeFloor returns the time floor on record, zero without one.
func readTimeFloor(ctx context.Context, s store.Reader) (int64, error) {
	r, err := s.Get(ctx, timeFloorKey)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var rec timeFloorRecord
	if err := decode(r, &rec, &rec.V); err != nil {
		return 0, err
	}
	return rec.TimeFloor, nil
}
