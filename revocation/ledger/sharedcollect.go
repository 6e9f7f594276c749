package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/origins"
)

const (
	// sharedDeletes is how many batches one commit on a shared engine deletes, and collectTries how often
	// one that lost a race is made again.
	sharedDeletes = 50
	collectTries  = 5
)

// expired is a batch that may be deleted.
type expired struct {
	key string
	end int64
}

// collect deletes expired batches if this broker is the one that collects now. A batch is deleted when its full length
// has passed since this process loaded it and the smallest clock of the live brokers is past its end: a fast
// clock deletes nothing early, a slow one only delays. All brokers then drop from memory what has been
// deleted, once the time floor of a view is past its end.
func (s *sharedRecord) collect(ctx context.Context) (n int, err error) {
	if err := s.speak(); err != nil {
		return 0, err
	}
	clockMS, collector, err := s.run.Collector(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := s.barrier(ctx); err != nil {
		return 0, err
	}
	if !collector {
		s.collects = false
		s.forget()
		return 0, nil
	}
	due := s.due(clockMS / 1000)
	if !s.collects {
		forgotten, err := s.forgotten(ctx, clockMS/1000)
		if err != nil {
			return 0, err
		}
		due = append(due, forgotten...)
	}
	if n, err = s.delete(ctx, due); err == nil {
		s.collects = true
	}
	return n, err
}

// due returns the batches in memory that have expired when all clocks are at least at clock.
func (s *sharedRecord) due(clock int64) []expired {
	mono := s.l.config.Mono()
	var due []expired
	for _, r := range s.all() {
		for _, e := range r.entries {
			if e.end < clock && e.loaded+e.length <= mono {
				due = append(due, expired{batchKey(r.origin, e.seq), e.end})
			}
		}
	}
	return due
}

// forget drops what the collector deletes: what ended by the time floor on record and was held for its length.
func (s *sharedRecord) forget() {
	mono, floor := s.l.config.Mono(), s.l.RecordedTimeFloor()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.remove(func(_ string, e *entry) bool { return e.end <= floor && e.loaded+e.length <= mono })
}

// forgotten returns the expired batches on the engine that are not in memory: this broker dropped them while
// another one collected, which has not deleted them.
func (s *sharedRecord) forgotten(ctx context.Context, clock int64) (due []expired, err error) {
	s.mu.Lock()
	held := make(map[string]bool)
	for id, o := range s.log.origins {
		for _, e := range o.entries {
			held[batchKey(id, e.seq)] = true
		}
	}
	heads := s.log.headsAt(s.log.last)
	s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(heads)) {
		head := heads[id]
		err := eachPage(ctx, s.l.config.Store, batchPrefix+id+".", "", func(records []store.Record) error {
			for _, r := range records {
				if held[r.Key] || r.Key > batchKey(id, head) {
					continue
				}
				e, _, err := decodeBatch(r, id, 0)
				if err != nil {
					return err
				}
				if e.end < clock {
					due = append(due, expired{r.Key, e.end})
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return due, nil
}

// delete deletes batches in several commits and returns their number. Each commit moves the time floor, by
// compare-and-set, so that two collectors do not disturb each other.
func (s *sharedRecord) delete(ctx context.Context, due []expired) (n int, err error) {
	size, claimed := sharedDeletes, s.l.config.Mono()
	for tries := 0; len(due) > 0; {
		if now := s.l.config.Mono(); now-claimed >= time.Minute {
			claimed = now
			if _, ok, err := s.run.Collector(ctx); err != nil || !ok {
				return n, err
			}
		}
		page := due[:min(size, len(due))]
		deleted, err := s.deletePage(ctx, page)
		switch {
		case err == nil:
			n, due, tries = n+deleted, due[len(page):], 0
			s.drop(page)
		case (errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrRetry)) && tries < collectTries:
			tries++ // another broker has moved the floor
		case len(page) > 1 && !errors.Is(err, ErrNoView) && ctx.Err() == nil:
			size = len(page) / 2 // engines accept different numbers of writes in one change
		default:
			return n, err
		}
	}
	return n, nil
}

// errClockBehind is returned if a batch that was due has not expired by the clock of a broker that has joined since, or whose
// clock was set back.
var errClockBehind = errors.New("the clock of a live broker is behind: the next collection decides again")

// deletePage deletes some batches in one change with the time floor. It judges them again by the clocks of the view in which
// it reads the floor.
func (s *sharedRecord) deletePage(ctx context.Context, page []expired) (n int, err error) {
	v, err := s.view(ctx)
	if err != nil {
		return 0, err
	}
	keys := make([]string, len(page))
	floor := v.TimeFloor
	clock := s.run.SmallestClock(v) / 1000
	for i, e := range page {
		if e.end >= clock {
			return 0, errClockBehind
		}
		keys[i], floor = e.key, max(floor, e.end)
	}
	records, err := s.l.config.Store.GetMany(ctx, keys)
	if err != nil {
		return 0, err
	}
	writes := []store.Write{floorWrite(floor, v.FloorRevision)}
	for _, r := range records {
		if r.Value != nil {
			writes = append(writes, store.Write{Key: r.Key, Delete: true, Expect: r.Revision})
		}
	}
	if len(writes) > 1 { // otherwise another broker has deleted them
		if err := s.l.config.Store.Commit(ctx, []store.Change{{Writes: writes}}, nil)[0]; err != nil {
			return 0, err
		}
	}
	_, err = s.view(ctx) // the floor of those who deleted them is in force before they are dropped
	return len(writes) - 1, err
}

func floorWrite(floor int64, revision store.Revision) store.Write {
	return store.Write{
		Key: timeFloorKey, Expect: revision, Value: encode(timeFloorRecord{V: version, TimeFloor: floor}),
	}
}

// drop drops deleted batches from memory.
func (s *sharedRecord) drop(page []expired) {
	gone := make(map[string]bool, len(page))
	for _, e := range page {
		gone[e.key] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.remove(func(origin string, e *entry) bool { return gone[batchKey(origin, e.seq)] })
}

// followTimeFloor puts the time floor of a view in force. It goes back only when all users were signed out
// ([Ledger.ResetTimeFloor]).
func (s *sharedRecord) followTimeFloor(v *origins.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.FloorRevision <= s.floorRevision {
		return // views may arrive in any order
	}
	s.floorRevision = v.FloorRevision
	if v.TimeFloor >= s.l.RecordedTimeFloor() {
		s.l.raiseTimeFloor(v.TimeFloor)
		s.l.recordedFloor.Store(v.TimeFloor)
		return
	}
	s.l.recordedFloor.Store(v.TimeFloor) // stored first, so that Now is never before it
	s.l.floor.Store(&timeFloor{unix: v.TimeFloor, since: s.l.config.Mono()})
}

// resetTimeFloor is the last part of [Ledger.ResetTimeFloor]. It does nothing unless the clocks of all live
// brokers are suspect: one clock that is behind those of the others is itself wrong.
func (s *sharedRecord) resetTimeFloor(ctx context.Context) error {
	v, err := s.view(ctx)
	if err != nil {
		return err
	}
	behind := func(o origins.Origin) bool {
		return o.ID == s.origin() || s.l.floor.Load().suspects(time.UnixMilli(o.ClockMS))
	}
	if !s.l.ClockSuspect() || slices.ContainsFunc(v.Live(), func(o origins.Origin) bool { return !behind(o) }) {
		return nil
	}
	if err := s.l.config.SignOutEverybody(ctx); err != nil {
		return fmt.Errorf("resetting the time floor: %w", err)
	}
	floor := s.l.config.Wall().Unix()
	err = s.l.config.Store.Commit(ctx, []store.Change{{Writes: []store.Write{floorWrite(floor, v.FloorRevision)}}}, nil)[0]
	if err != nil {
		return fmt.Errorf("resetting the time floor: %w", err)
	}
	_, err = s.view(ctx)
	return err
}
