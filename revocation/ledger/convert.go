package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// Records are the records of a store that no broker uses.
type Records interface {
	// Each calls fn for every record below prefix, in key order and as of one view. fn owns the value.
	Each(ctx context.Context, prefix string, fn func(store.Write) error) error
}

// Converted reports whether [ToShared] or [ToSingle] writes the records of that key. The other records of a ledger are
// the same in both kinds of store.
func Converted(key string) bool {
	return strings.HasPrefix(key, batchPrefix) || strings.HasPrefix(key, eventPrefix) || strings.HasPrefix(key, origins.Prefix)
}

// StoreOf returns the id of a store, empty if it has none, and its time floor (Unix seconds).
func StoreOf(ctx context.Context, from store.Reader) (id string, timeFloor int64, err error) {
	r, err := from.Get(ctx, storeKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", 0, err
	}
	var rec storeRecord
	if err == nil {
		if err := decode(r, &rec, &rec.V); err != nil {
			return "", 0, err
		}
	}
	timeFloor, err = readTimeFloor(ctx, from)
	return rec.ID, timeFloor, err
}

// ToSingle reads the revocations of a store that brokers shared and passes to write the records that a single broker has: the
// batches and the ended origins as they are, and the strongest event of each kind and value. It keeps all events in memory.
func ToSingle(ctx context.Context, from Records, write func(store.Write) error) error {
	events := map[string]eventRecord{}
	err := from.Each(ctx, batchPrefix, func(w store.Write) error {
		b, err := decodeStored(w)
		if err != nil {
			return err
		}
		for i, e := range b.Events {
			if b.By != nil {
				e.By = b.By[i]
			}
			key := eventKey(e)
			old, ok := events[key]
			switch {
			case ok && covers(old.Event, e):
				continue
			case ok:
				e = stronger(old.Event, e)
			}
			events[key] = eventRecord{Origin: b.Origin, Seq: b.Seq, Event: e}
		}
		return write(w)
	})
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(events)) {
		value, err := events[key].encode()
		if err == nil {
			err = write(store.Write{Key: key, Value: value, Blind: true})
		}
		if err != nil {
			return err
		}
	}
	return WriteOrigins(ctx, from, write)
}

// WriteOrigins passes to write the records of the ended origins that have batches.
func WriteOrigins(ctx context.Context, from Records, write func(store.Write) error) error {
	kept, err := endedOrigins(ctx, from)
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		if err == nil {
			err = write(kept[id])
		}
	}
	return err
}

// endedOrigins returns the records of the ended origins that have batches, by their ids.
func endedOrigins(ctx context.Context, from Records) (map[string]store.Write, error) {
	all := map[string]store.Write{}
	err := from.Each(ctx, origins.Prefix, func(w store.Write) error {
		r, err := origins.Decode(store.Record{Key: w.Key, Value: w.Value})
		if err == nil && r.Ended && r.Head > 0 {
			r.Last = 0 // a revision of the other store
			all[strings.TrimPrefix(w.Key, origins.Prefix)] = store.Write{Key: w.Key, Value: r.Encode(), Blind: true}
		}
		return err
	})
	return all, err
}

// decodeStored decodes the record of a batch of either kind of store.
func decodeStored(w store.Write) (b storedBatch, err error) {
	if err := decode(store.Record{Key: w.Key, Value: w.Value}, &b, &b.V); err != nil {
		return b, err
	}
	origin, seq, ok := cutBatchKey(w.Key)
	if !ok || b.Origin != origin || b.Seq != seq || len(b.By) != 0 && len(b.By) != len(b.Events) {
		return b, fmt.Errorf("reading ledger record %s: it is batch %d of %.80q", w.Key, b.Seq, b.Origin)
	}
	return b, nil
}

// cutBatchKey returns the origin and the number in the key of a batch.
func cutBatchKey(key string) (origin string, seq uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, batchPrefix)
	origin, digits, ok2 := strings.Cut(rest, ".")
	seq, err := strconv.ParseUint(digits, 10, 64)
	return origin, seq, ok && ok2 && err == nil
}
