package origins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tokenbroker/store"
)

// Keys of the ledger's records that a view has, and the prefix of its batches.
const (
	storeKey     = "ledger.store"
	timeFloorKey = "ledger.time_floor"
	batchPrefix  = "ledger.batch." // <origin>.<seq>
)

// View is what one linearizable read found. It is shared by callers and must not be changed.
type View struct {
	// Origins are all origins on record, in the order of their ids.
	Origins []Origin
	// Store is the id of the store, empty before it has one.
	Store string
	// TimeFloor (Unix seconds) is the latest end that was ever collected, and FloorRevision the revision of its record.
	TimeFloor     int64
	FloorRevision store.Revision
	// Version is the version of the store.
	Version StoreVersion
	// Read is the monotonic clock when the read began.
	Read time.Duration

	clockMS   int64         // the own wall clock when the read began (Unix ms)
	done      time.Duration // the monotonic clock when the read was done
	collector claim
}

// Heads returns the head of each origin on record.
func (v *View) Heads() map[string]uint64 {
	heads := make(map[string]uint64, len(v.Origins))
	for _, o := range v.Origins {
		heads[o.ID] = o.Head
	}
	return heads
}

// Live returns the origins that have not ended.
func (v *View) Live() []Origin {
	return slices.DeleteFunc(slices.Clone(v.Origins), func(o Origin) bool { return o.Ended })
}

// find returns the origin with that id.
func (v *View) find(id string) (Origin, bool) {
	for _, o := range v.Origins {
		if o.ID == id {
			return o, true
		}
	}
	return Origin{}, false
}

// View returns all origin records, the time floor and the id of the store as of one moment after the call began.
// Callers that wait share the next read; only one runs at a time. The read runs under the context of one of the
// callers, which should have a deadline. It is confirmed (see [Run.Provisional]). The error is [ErrRewound] once the engine
// was found to be rewound.
func (r *Run) View(ctx context.Context) (*View, error) { return r.views.do(ctx, r.read) }

// read reads a view.
func (r *Run) read(ctx context.Context) (*View, error) {
	own := r.self() // before the read
	v := &View{Read: r.config.Mono(), clockMS: r.config.Wall().UnixMilli()}
	reader, confirm := r.Provisional()
	from, release, err := store.Snapshot(reader)
	if err != nil {
		return nil, err
	}
	defer release()
	if v.Origins, err = List(ctx, from); err != nil {
		return nil, err
	}
	records, err := from.GetMany(ctx, []string{storeKey, timeFloorKey, CollectorKey, VersionKey})
	if err != nil {
		return nil, err
	}
	var rec struct {
		ID        string `json:"id"`
		TimeFloor int64  `json:"time_floor"`
	}
	for _, stored := range records[:2] {
		if err := decodeLedger(stored, &rec); err != nil {
			return nil, err
		}
	}
	v.Store, v.TimeFloor, v.FloorRevision = rec.ID, rec.TimeFloor, records[1].Revision
	if v.collector, err = claimOf(records[2]); err != nil {
		return nil, err
	}
	if v.Version, err = DecodeVersion(records[3]); err != nil {
		return nil, err
	}
	v.done = r.config.Mono()
	if err := confirm(ctx); err != nil {
		return nil, err
	}
	return v, r.check(v, own)
}

// decodeLedger decodes a record of the ledger if it is there.
func decodeLedger(stored store.Record, into any) error {
	if stored.Revision == 0 {
		return nil
	}
	var rec struct {
		V int `json:"v"`
	}
	err := json.Unmarshal(stored.Value, &rec)
	if err == nil && rec.V != 1 {
		err = fmt.Errorf("version %d, this program knows 1", rec.V)
	}
	if err == nil {
		err = json.Unmarshal(stored.Value, into)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", stored.Key, err)
	}
	return nil
}

// check compares a view with the last one and with the own origin before the read.
func (r *Run) check(v *View, own Origin) error {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.failure, ErrRewound) {
		return r.failure
	}
	found, there := v.find(own.ID)
	why := rewound(r.last, v)
	switch {
	case there && (found.Revision < own.Revision || found.Head < own.Head):
		why = fmt.Sprintf("the own origin %s has gone back to commit %d", own.ID, found.N)
	case !there && own.ID == r.own.ID && own.Head > 0 && r.present.since(now) < keepEnded:
		why = fmt.Sprintf("the own origin %s is missing", own.ID)
	}
	if why != "" {
		r.failLocked(fmt.Errorf("%w: %s", ErrRewound, why))
		return r.failure
	}
	if err := v.Version.Check(r.config.Speaks); err != nil { // this origin was ended before the version was raised
		r.failLocked(err)
		return err
	}
	r.last = v
	r.version = v.Version.MinReader
	r.collector.observe(v)
	if own.ID != r.own.ID { // the run has rejoined in between
		return nil
	}
	r.viewed = true
	if there {
		r.present = now
	}
	if !there || found.Ended {
		r.failLocked(store.ErrFenced)
	}
	return nil
}

// rewound returns what shows that the engine has gone back from the view last to v, empty if nothing does.
// last may be nil.
func rewound(last, v *View) string {
	if last == nil {
		return ""
	}
	if last.Store != "" && last.Store != v.Store {
		return fmt.Sprintf("the store %s is now %q", last.Store, v.Store)
	}
	if v.FloorRevision < last.FloorRevision {
		return "the time floor has gone back"
	}
	if v.Version.MinReader < last.Version.MinReader {
		return fmt.Sprintf("the version of the store has gone back from %d to %d", last.Version.MinReader, v.Version.MinReader)
	}
	before := make(map[string]Origin, len(last.Origins))
	for _, o := range last.Origins {
		before[o.ID] = o
	}
	for _, o := range v.Origins {
		if b := before[o.ID]; o.Revision < b.Revision || o.Head < b.Head {
			return fmt.Sprintf("the origin %s has gone back from batch %d to %d", o.ID, b.Head, o.Head)
		}
	}
	return ""
}
