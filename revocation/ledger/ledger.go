// Package ledger is the broker's durable record of revocations. It encodes the records that the committer
// writes in the same transaction as the change that revokes ([Ledger.Seal], [Ledger.Committed]), answers
// catch-ups ([Ledger.Answer]), keeps the broker's clock, deletes expired records ([Ledger.Run]) and sends
// its batches to the network ([Publisher]).
//
// The order is fixed: commit, own denylist, head, the caller's answer, the network.
package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// Config of a [Ledger]. Denylist is required, and so is one of Store and Run.
type Config struct {
	// Store is the engine of the only broker. If Run is set, it is Run.
	Store store.Store
	// Run is this broker's use of an engine that several brokers share. If nil, there is only this broker.
	Run *origins.Run
	// Denylist is the broker's own. It has every acknowledged revocation.
	Denylist *revocation.Denylist
	// Wall returns the time of the machine's wall clock. If nil, [time.Now] is used.
	Wall func() time.Time
	// Mono returns the time since the process started, on its monotonic clock. If nil, it is the time
	// since Open.
	Mono func() time.Duration
	// Logger receives changes of state and failures. If nil, [slog.Default] is used.
	Logger *slog.Logger
	// Kids returns the compromised key ids, which are never valid again. If nil, there are none.
	Kids func() []string
	// SignOutEverybody is called by Run when the wall clock is more than ten minutes behind the time
	// floor. Once it has succeeded, the floor starts again at the wall clock. If nil, the broker's clock
	// continues from the floor.
	SignOutEverybody func(ctx context.Context) error
	// CollectEvery is the pause between collections. If zero, it is one minute.
	CollectEvery time.Duration
}

func (c *Config) validate() error {
	if c.Run != nil {
		c.Store = c.Run
	}
	if c.Store == nil || c.Denylist == nil {
		return errors.New("opening the ledger: store and denylist are required")
	}
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Mono == nil {
		began := time.Now()
		c.Mono = func() time.Duration { return time.Since(began) }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Kids == nil {
		c.Kids = func() []string { return nil }
	}
	if c.CollectEvery <= 0 {
		c.CollectEvery = time.Minute
	}
	return nil
}

// Ledger is the record as one process uses it. Seal and Committed are called by one goroutine, in turn;
// everything else is safe for concurrent use.
type Ledger struct {
	config  Config
	storeID string
	origin  string        // of the only broker
	opened  time.Duration // by Mono
	// shared has the batches if several brokers share the engine. If nil, the fields below mu have them.
	shared *sharedRecord

	floor atomic.Pointer[timeFloor] // rises only, except in ResetTimeFloor
	// recordedFloor is floor's time as it is on disk.
	recordedFloor atomic.Int64
	suspect       atomic.Bool   // the clock was suspect when it was last logged
	stepped       chan struct{} // holds one token when Now has found the clock suspect

	collecting sync.Mutex // one collection at a time
	collected  atomic.Uint64
	answers    answers
	unreadable unreadable

	mu      sync.Mutex
	head    uint64        // of the last committed batch
	first   uint64        // of the oldest batch that is still kept; head+1 when there is none
	batches []batchInfo   // first … head
	recent  recent        // the last of them
	pending *pending      // sealed, not yet known to be committed
	moved   chan struct{} // closed when head moves
}

// batchInfo is the information in memory about a batch of this origin.
type batchInfo struct {
	written time.Duration // by Mono
	end     int64         // of the last of its records, Unix seconds
	length  time.Duration // of the longest
	size    int           // of the batch's record, bytes
}

type pending struct {
	batch revocation.Batch
	info  batchInfo
}

// Open reads the record and adds every live event to the denylist. On first use it creates the store id.
// The origin is new, so that a sequence number never names two payloads. On a shared engine it is that of
// Config.Run, and Open loads the batches of all origins. Open starts no goroutine; catch-up answers do, which Close
// ends.
func Open(ctx context.Context, config Config) (*Ledger, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	l := &Ledger{
		config:  config,
		origin:  newID(),
		first:   1,
		stepped: make(chan struct{}, 1),
		moved:   make(chan struct{}),
	}
	if config.Run != nil {
		l.shared = newShared(l, config.Run)
	}
	l.answers.init()
	if err := l.loadStoreID(ctx); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	if err := l.loadTimeFloor(ctx); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	if err := l.loadEvents(ctx); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	l.opened = config.Mono()
	l.checkClock()
	return l, nil
}

// Close ends the encodings of catch-up answers and waits for them; later catch-ups fail. The caller
// closes the store after it.
func (l *Ledger) Close() { l.answers.close() }

// newID returns 16 random bytes in lower-case base32 without padding.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return revocation.EncodeID(b[:])
}

func (l *Ledger) loadStoreID(ctx context.Context) error {
	for {
		r, err := l.config.Store.Get(ctx, storeKey)
		if err == nil {
			var rec storeRecord
			if err := decode(r, &rec, &rec.V); err != nil {
				return err
			}
			if rec.ID == "" {
				return errors.New("the ledger's store record has no id")
			}
			l.storeID = rec.ID
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		w := store.Write{Key: storeKey, Value: encode(storeRecord{V: version, ID: newID()})}
		err = l.config.Store.Commit(ctx, []store.Change{{Writes: []store.Write{w}}}, nil)[0]
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func (l *Ledger) loadTimeFloor(ctx context.Context) error {
	floor, err := readTimeFloor(ctx, l.config.Store)
	l.floor.Store(&timeFloor{unix: floor, since: l.config.Mono()})
	l.recordedFloor.Store(floor)
	return err
}

func (l *Ledger) loadEvents(ctx context.Context) error {
	l.config.Denylist.SetKids(l.config.Kids())
	if l.shared != nil {
		_, err := l.shared.barrier(ctx)
		return err
	}
	if engine, ok := l.config.Store.(store.Scanner); ok {
		return loadInParts(ctx, engine, l.config.Denylist)
	}
	return l.eachEvent(ctx, func(events []revocation.Event) error {
		l.config.Denylist.Apply(events...)
		return nil
	})
}

// StoreID returns the random id that was made with the store.
func (l *Ledger) StoreID() string { return l.storeID }

// Origin returns the id of this run of the process. On a shared engine, [Ledger.Rejoin] changes it.
func (l *Ledger) Origin() string {
	if l.shared != nil {
		return l.shared.origin()
	}
	return l.origin
}

// Up returns the milliseconds since the process started, on its monotonic clock. For a
// heartbeat or an answer it is read before the head.
func (l *Ledger) Up() int64 { return l.config.Mono().Milliseconds() }

// NewStoreID assigns a new id to a store that was filled from a backup, by which services notice that it
// is another store. It raises its time floor to that of the store that it replaces; replaced may be nil.
// It must be called before [Open].
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
