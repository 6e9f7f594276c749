package origins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tokenbroker/store"
)

// MaintenanceKey is the key of the record that exists while a program has the store for itself, and after one was
// interrupted.
const MaintenanceKey = "maintenance"

// unmarkTimeout bounds the removal of that record after the program could not join.
const unmarkTimeout = 5 * time.Second

// Maintenance is that record.
type Maintenance struct {
	V int `json:"v"`
	// What is Config.Maintenance of the program, such as "restore". It is empty if there is none.
	What string `json:"what"`
	// Run is a random id of the program that took the store last. Of several that join at the same time it is the only one
	// that may go on.
	Run string `json:"run,omitempty"`
	// Replaces says that the program found the store empty and fills it ([Run.Replace]): if it was interrupted, the next one may
	// delete all records.
	Replaces bool `json:"replaces,omitempty"`
	// Of identifies what the store is filled with. It is empty if no program has to know.
	Of       string         `json:"of,omitempty"`
	revision store.Revision // zero without a record
}

func (m Maintenance) write() store.Write {
	value, err := json.Marshal(m)
	if err != nil { // a plain struct
		panic("encoding the record of a maintenance: " + err.Error())
	}
	return store.Write{Key: MaintenanceKey, Value: value, Expect: m.revision}
}

// ReadMaintenance returns the program that has the store for itself or was interrupted.
func ReadMaintenance(ctx context.Context, from store.Reader) (m Maintenance, err error) {
	stored, err := from.Get(ctx, MaintenanceKey)
	if errors.Is(err, store.ErrNotFound) {
		return m, nil
	}
	if err == nil {
		err = decodeLedger(stored, &m)
	}
	m.revision = stored.Revision
	return m, err
}

// maintenance returns the record, or [ErrMaintenance] if it is that of another program, or [ErrMoved].
func (r *Run) maintenance(ctx context.Context) (Maintenance, error) {
	return startable(ctx, r, r.config.Maintenance)
}

// maintain takes the store for this program: brokers that look from now on do not join, and those that have joined since
// admit are waited for. Another program that does the same and has not joined yet is refused when it looks again (see
// create). It returns the Joined of the origin, and a function that undoes it if the program cannot join.
func (r *Run) maintain(ctx context.Context) (joined uint64, undo func(), err error) {
	undo = func() {}
	m, err := r.maintenance(ctx)
	if err != nil {
		return 0, undo, err
	}
	if m.revision == 0 {
		undo = func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarkTimeout)
			defer cancel()
			if m, err := r.maintenance(ctx); err == nil && m.Run == r.program && !m.Replaces {
				r.writeAlone(ctx, store.Write{Key: MaintenanceKey, Delete: true, Expect: m.revision})
			}
		}
	}
	r.program = newID()
	m.V, m.What, m.Run = 1, r.config.Maintenance, r.program
	if err := r.writeAlone(ctx, m.write())[0]; errors.Is(err, store.ErrConflict) {
		return 0, undo, r.overtaken()
	} else if err != nil {
		return 0, undo, err
	}
	joined, err = r.admit(ctx)
	return joined, undo, err
}

// overtaken returns the error of a program that another one has overtaken while it joined.
func (r *Run) overtaken() error {
	return fmt.Errorf("%w: another %s began at the same time", ErrRunning, r.config.Maintenance)
}

// Replace records that the store is empty and is being filled by the program, which may delete all records if it has to begin
// again. of is [Maintenance.Of].
func (r *Run) Replace(ctx context.Context, of string) error {
	m, err := r.maintenance(ctx)
	if err != nil {
		return err
	}
	m.Replaces, m.Of = true, of
	return r.Commit(ctx, []store.Change{{Writes: []store.Write{m.write()}}}, nil)[0]
}

// Own reports whether the record of that key is one of this run, which a program that has the store for itself must not
// change.
func (r *Run) Own(key string) bool { return key == MaintenanceKey || key == Key(r.Origin()) }

// Finish ends the origin of a program that had the store for itself, and lets brokers join again, both in one change. If it
// was not called, or returns an error, the program has to be run again before brokers can join.
func (r *Run) Finish(ctx context.Context) error { return r.finish(ctx) }

// finish is [Run.Finish] with further writes in the same change.
func (r *Run) finish(ctx context.Context, with ...store.Write) error {
	m, err := r.maintenance(ctx)
	if err != nil {
		return fmt.Errorf("letting brokers join: %w", err)
	}
	return r.leave(ctx, append(with, store.Write{Key: MaintenanceKey, Delete: true, Expect: m.revision})...)
}
