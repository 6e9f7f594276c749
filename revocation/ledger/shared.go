package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// Errors of a ledger on an engine that several brokers share.
var (
	// ErrNoView is wrapped by an error of reading what the brokers have recorded: the engine does not answer in
	// time, so no answer or heartbeat can prove anything.
	ErrNoView = errors.New("the engine does not answer")
	// ErrSilent is wrapped if this broker must neither answer nor send heartbeats, for example because of its
	// clock.
	ErrSilent = errors.New("this broker is silent")
	// ErrOutdated is returned to a service that does not understand several origins, while several are live.
	ErrOutdated = errors.New("the service does not understand several brokers")
)

// viewWait is how long a view may take, and the read of a batch whose commit was uncertain.
const viewWait = time.Second

// sharedRecord is the part of a [Ledger] on an engine that several brokers share. It has the batches of all origins
// in memory: its own since their commit, those of the others by following their heads. The batches are
// the whole record: events are not recorded separately.
type sharedRecord struct {
	l       *Ledger
	run     *origins.Run
	fatal   chan error    // holds the error that ends the process
	reading chan struct{} // holds a token while the store is read for batches
	// collects says that this broker was the collector at the last collection. Ledger.collecting guards it.
	collects bool

	mu       sync.Mutex
	log      batchLog
	own      string            // the origin of this run
	pending  *sealed           // not yet known to be committed
	moved    chan struct{}     // closed when the log grows or the origin changes
	seen     time.Duration     // Read of the newest view that was applied
	recorded map[string]uint64 // heads of all origins in that view
	proved   time.Duration     // Read of the newest view that the memory has reached
	// gap says that batches were collected before this process read them, and that the time floor which is past
	// their ends may not be in force.
	gap bool
	// floorRevision is the revision of the time floor that is in force.
	floorRevision store.Revision
	// bad has the error of each origin that has a batch that cannot be read.
	bad map[string]error
	// lags is why the last attempt to follow the others failed, nil if it did not.
	lags error
}

// sealed is a batch that Seal encoded.
type sealed struct {
	batch revocation.Batch
	entry entry
	value []byte
}

func newShared(l *Ledger, run *origins.Run) *sharedRecord {
	s := &sharedRecord{
		l: l, run: run, fatal: make(chan error, 1), reading: make(chan struct{}, 1),
		log: batchLog{origins: make(map[string]*originLog)}, own: run.Origin(),
		moved: make(chan struct{}), bad: make(map[string]error),
	}
	s.log.origin(s.own)
	return s
}

// origin returns the origin of this run.
func (s *sharedRecord) origin() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own
}

// head returns the head of an origin.
func (s *sharedRecord) head(origin string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.log.origins[origin]; o != nil {
		return o.head
	}
	return 0
}

// last returns the index of the newest batch, and a channel that is closed when there is a newer one.
func (s *sharedRecord) last() (uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.last, s.moved
}

// wake wakes those that wait for the log. The caller holds mu.
func (s *sharedRecord) wake() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// next returns the number of the next own batch. If it is not known whether the last sealed batch was
// committed, it asks the engine: a commit that was uncertain has been settled before another seals.
func (s *sharedRecord) next() (origin string, seq uint64, err error) {
	s.mu.Lock()
	origin, p := s.own, s.pending
	s.mu.Unlock()
	if p != nil {
		ctx, cancel := context.WithTimeout(context.Background(), viewWait) // a seal has no context, and other commits wait for it
		defer cancel()
		r, err := s.l.config.Store.Get(ctx, batchKey(origin, p.batch.Seq))
		switch {
		case err == nil && string(r.Value) == string(p.value):
			s.committed()
		case err == nil:
			return "", 0, fmt.Errorf("batch %d of this broker is another one on the engine", p.batch.Seq)
		case !errors.Is(err, store.ErrNotFound):
			if ctx.Err() != nil { // it is the engine that is late, not the caller
				err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
			}
			return "", 0, fmt.Errorf("looking whether batch %d was recorded: %w", p.batch.Seq, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = nil
	return origin, s.log.origin(origin).head + 1, nil
}

// seal returns the write of a batch, which must not exist.
func (s *sharedRecord) seal(b revocation.Batch) ([]store.Write, error) {
	record := storedBatch{Batch: b}
	for i, e := range b.Events {
		if e.By != "" && record.By == nil {
			record.By = make([]string, len(b.Events))
		}
		if e.By != "" {
			record.By[i] = operatorName(e.By)
		}
	}
	e, err := newEntry(record, 0)
	if err != nil {
		return nil, err
	}
	p := &sealed{batch: b, entry: e, value: encode(record)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = p
	return []store.Write{{Key: batchKey(b.Origin, b.Seq), Value: p.value}}, nil
}

// committed is [Ledger.Committed]. Following may have found the batch on the engine before.
func (s *sharedRecord) committed() uint64 {
	s.mu.Lock()
	p := s.pending
	s.pending = nil
	s.mu.Unlock()
	if p == nil {
		return s.head(s.origin())
	}
	s.l.config.Denylist.Apply(p.batch.Events...)
	p.entry.loaded = s.l.config.Mono()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.add(p.batch.Origin, p.entry)
	s.wake()
	return s.log.origin(s.own).head
}

// Rejoin takes a new origin after another broker has ended this one's ([store.ErrFenced]). The batches of the
// old one are followed like any other origin's. The committer calls it between two commits. It does nothing
// if there is only this broker.
func (l *Ledger) Rejoin(ctx context.Context) error {
	s := l.shared
	if s == nil {
		return nil
	}
	if err := s.run.Rejoin(ctx); err != nil {
		return fmt.Errorf("joining the other brokers again: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own, s.pending = s.run.Origin(), nil
	s.log.origin(s.own)
	s.wake()
	return nil
}

// Barrier returns when everything that any broker acknowledged before the call is in the denylist. If there
// is only this broker, that is always so. Errors wrap [ErrNoView] or the context's error.
func (l *Ledger) Barrier(ctx context.Context) error {
	_, err := l.Heads(ctx)
	return err
}

// Heads is [Ledger.Barrier], and returns the last batch of each origin on record that has one.
func (l *Ledger) Heads(ctx context.Context) (map[string]uint64, error) {
	if l.shared == nil {
		return map[string]uint64{l.origin: l.Head()}, nil
	}
	v, err := l.shared.barrier(ctx)
	if err != nil {
		return nil, err
	}
	heads := v.Heads()
	maps.DeleteFunc(heads, func(_ string, head uint64) bool { return head == 0 })
	return heads, nil
}

// Behind returns how many batches of all brokers are on record, by the newest view, and not yet in the denylist. If there is only
// this broker, it is zero.
func (l *Ledger) Behind() (batches uint64) {
	s := l.shared
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for origin, head := range s.recorded {
		if o := s.log.origins[origin]; o != nil {
			batches += head - min(head, o.head)
		}
	}
	return batches
}

// Proved returns a time, by Config.Mono: the denylist has everything that any broker acknowledged before it. While the engine
// answers, [Ledger.Run] moves it each second. If there is only this broker, it is the present time.
func (l *Ledger) Proved() time.Duration {
	s := l.shared
	if s == nil {
		return l.config.Mono()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proved
}

// Lags returns why this broker cannot read what others have recorded, so that it answers no catch-ups: for example the key of
// a damaged batch. It is nil if it can, if the engine does not answer, and if there is only this broker. While [Ledger.Run]
// runs, it is at most some seconds old.
func (l *Ledger) Lags() error {
	s := l.shared
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.lags, ErrNoView) {
		return nil
	}
	return s.lags
}

// indexed is [Ledger.indexed].
func (s *sharedRecord) indexed(index, limit uint64) (batches []logged, reached uint64, err error) {
	s.mu.Lock()
	page, heads := s.log.page(index, limit), s.log.headsAt(index)
	reached = s.log.last
	s.mu.Unlock()
	for _, p := range page {
		events, err := p.decode()
		if err != nil {
			return nil, index, err
		}
		heads[p.origin], reached = p.seq, p.index
		batches = append(batches, logged{
			index: p.index, position: revocation.FormatPosition(heads), CommittedBatch: s.batch(p, events),
		})
	}
	return batches, reached, nil
}

func (s *sharedRecord) batch(p place, events []revocation.Event) CommittedBatch {
	return CommittedBatch{Written: p.loaded, Batch: revocation.Batch{
		V: revocation.Version, Store: s.l.storeID, Origin: p.origin, Seq: p.seq, At: p.at, Events: events,
	}}
}
