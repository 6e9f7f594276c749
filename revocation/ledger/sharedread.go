package ledger

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenbroker/revocation"
)

// heads returns the heads of all origins for a heartbeat of origin.
func (s *sharedRecord) heads(ctx context.Context, origin string) (map[string]uint64, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	s.observe(v)
	for _, o := range v.Origins {
		if o.ID == origin && !o.Ended {
			return v.Heads(), s.speak()
		}
	}
	return nil, fmt.Errorf("%w: its origin was ended by another broker", ErrSilent)
}

// listenFrom is [Ledger.listenFrom].
func (s *sharedRecord) listenFrom(ctx context.Context, positions map[string]uint64, all bool) (index uint64, at string, known bool, err error) {
	if !all {
		v, err := s.view(ctx)
		if err != nil {
			return 0, "", false, err
		}
		if len(v.Live()) > 1 {
			return 0, "", false, ErrOutdated
		}
	}
	if index, known, err = s.locate(ctx, positions, all); err != nil {
		return 0, "", false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !known {
		index = s.log.last
	}
	heads := s.log.headsAt(index)
	if !all {
		return index, position(s.own, heads[s.own]), known, nil
	}
	return index, revocation.FormatPosition(heads), known, nil
}

// ownAt is [Ledger.ownAt].
func (s *sharedRecord) ownAt(index uint64) (origin string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own, s.log.origin(s.own).headAt(index)
}

// waiting is [Ledger.waiting].
func (s *sharedRecord) waiting(index uint64) (n uint64, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.log.origin(s.own)
	rest := own.entries[own.after(index):]
	if len(rest) == 0 {
		return 0, 0
	}
	return uint64(len(rest)), rest[0].loaded
}

// followOwn is [Ledger.Follow].
func (s *sharedRecord) followOwn(ctx context.Context, origin string, seq, limit uint64) ([]CommittedBatch, error) {
	for {
		s.mu.Lock()
		moved, rest := s.moved, s.log.from(origin, seq)
		if len(rest) == 0 && origin != s.own {
			origin, seq = s.own, 0
			rest = s.log.from(origin, seq)
		}
		s.mu.Unlock()
		if len(rest) > 0 {
			all := make([]CommittedBatch, 0, min(limit, uint64(len(rest))))
			for _, e := range rest[:cap(all)] {
				events, err := e.decode()
				if err != nil {
					return nil, err
				}
				all = append(all, s.batch(place{origin, e}, events))
			}
			return all, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// find returns the strongest event of a kind and value. It searches all batches, which takes some milliseconds for
// a million events.
func (s *sharedRecord) find(ctx context.Context, kind revocation.Kind, value string) (found revocation.Recorded, ok bool, err error) {
	if _, err := s.barrier(ctx); err != nil {
		return found, false, err
	}
	probe := []byte(value)
	whole, err := revocation.AppendEvent(nil, revocation.Event{Kind: kind, Value: value, Reason: revocation.ReasonRevoked})
	if err == nil { // the form of an identifier may be shorter than its text
		probe = whole[2 : len(whole)-2] // without kind and reason, and the times, which are zero
	}
	for _, r := range s.all() {
		for i := range r.entries {
			e := &r.entries[i]
			if !bytes.Contains(e.events, probe) {
				continue
			}
			err := e.each(func(data []byte, by string) error {
				event, err := revocation.DecodeEvent(data)
				if err != nil || event.Kind != kind || event.Value != value || ok && covers(found.Event, event) {
					return err
				}
				if ok {
					event = stronger(found.Event, event)
				}
				found, ok = revocation.Recorded{Event: event, By: by, Origin: r.origin, Seq: e.seq}, true
				return nil
			})
			if err != nil {
				return found, false, err
			}
		}
	}
	return found, ok, nil
}

// all returns the batches of all origins, in the order of the origins' ids.
func (s *sharedRecord) all() []run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.since(0)
}

// list is [Ledger.List]. It searches all batches for each page and keeps at most twice the events of one.
func (s *sharedRecord) list(ctx context.Context, after string, limit int) (events []revocation.Event, next string, err error) {
	if _, err := s.barrier(ctx); err != nil {
		return nil, "", fmt.Errorf("listing the revocations: %w", err)
	}
	found := make(map[string]revocation.Event)
	last := "" // no key above it is on the page
	cut := func() []string {
		keys := slices.Sorted(maps.Keys(found))
		for _, key := range keys[min(limit+1, len(keys)):] {
			delete(found, key)
		}
		keys = keys[:min(limit+1, len(keys))]
		if len(keys) > limit {
			last = keys[limit]
		}
		return keys
	}
	err = eachEntry(s.all(), func(data []byte, by string) error {
		event, err := revocation.DecodeEvent(data)
		if err != nil {
			return err
		}
		key := strings.TrimPrefix(eventKey(event), eventPrefix)
		if key <= after || last != "" && key > last {
			return nil
		}
		event.By = by
		if old, ok := found[key]; ok && covers(old, event) {
			return nil
		} else if ok {
			event = stronger(old, event)
		}
		if found[key] = event; len(found) > 2*limit+2 {
			cut()
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("listing the revocations: %w", err)
	}
	keys := cut()
	events = make([]revocation.Event, 0, min(limit, len(keys)))
	for _, key := range keys[:min(limit, len(keys))] {
		events = append(events, found[key])
	}
	if len(keys) > limit {
		next = keys[limit-1]
	}
	return events, next, nil
}
