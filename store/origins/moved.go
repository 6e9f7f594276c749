package origins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tokenbroker/store"
)

const (
	// Migration is Config.Maintenance of a program that moves the records of one store to another. Only such a program joins a
	// store that was moved.
	Migration = "migrate"
	// MovedKey is the key of the record of a store whose records were moved to another one.
	MovedKey = "moved"
)

// ErrMoved is returned by Join for a store whose records were moved to another one: they are out of date.
var ErrMoved = errors.New("the records of this store were moved")

// Moved is that record.
type Moved struct {
	V int `json:"v"`
	// To names the other store for operators, and AtMS is the time (Unix ms).
	To   string `json:"to"`
	AtMS int64  `json:"at_ms"`
	// ID is the id of the migration, which is [Maintenance.Of] of the other store until brokers may start with that one.
	ID string `json:"id"`
}

// ReadMoved returns the record, or one without an ID if the store was not moved.
func ReadMoved(ctx context.Context, from store.Reader) (m Moved, err error) {
	stored, err := from.Get(ctx, MovedKey)
	if errors.Is(err, store.ErrNotFound) {
		return m, nil
	}
	if err == nil {
		err = decodeLedger(stored, &m)
	}
	return m, err
}

// Startable returns nil if a broker may start with a store, otherwise [ErrMoved] or [ErrMaintenance]. [Join] calls it; an
// embedded store, which is not joined, needs the call.
func Startable(ctx context.Context, from store.Reader) error {
	_, err := startable(ctx, from, "")
	return err
}

// startable is [Startable] for a program with that [Config.Maintenance]. It reads both records as of one view: a migration
// replaces one by the other.
func startable(ctx context.Context, from store.Reader, program string) (m Maintenance, err error) {
	records, err := from.GetMany(ctx, []string{MaintenanceKey, MovedKey})
	if err != nil {
		return m, err
	}
	var moved Moved
	if err := errors.Join(decodeLedger(records[0], &m), decodeLedger(records[1], &moved)); err != nil {
		return m, err
	}
	m.revision = records[0].Revision
	switch {
	case m.revision != 0 && m.What != program:
		return m, fmt.Errorf("%w (%s)", ErrMaintenance, m.What)
	case moved.ID != "" && program != Migration:
		return m, fmt.Errorf("%w to %s at %s, where brokers may have changed them: use the configuration of that store; 'tokenbroker migrate', from that store to this one, moves them back",
			ErrMoved, moved.To, time.UnixMilli(moved.AtMS).UTC().Format(time.RFC3339))
	}
	return m, nil
}

// Move is [Run.Finish] of a program that has moved the records to another store: in the same change, it records so. From then on
// no broker starts with this store.
func (r *Run) Move(ctx context.Context, to Moved) error {
	to.V = 1
	value, err := json.Marshal(to)
	if err != nil { // a plain struct
		panic("encoding the record of a moved store: " + err.Error())
	}
	return r.finish(ctx, store.Write{Key: MovedKey, Value: value})
}
