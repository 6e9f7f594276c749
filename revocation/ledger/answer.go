package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// ErrBadPosition is wrapped by the error of [Ledger.Answer] for a position that is not of
// the form <origin>.<seq>[,<origin>.<seq>…]: the caller's fault.
var ErrBadPosition = errors.New("malformed position")

const (
	maxPositions    = 256
	maxOriginLength = 64
)

// Answer returns the catch-up answer for a position: what was recorded after it, or
// everything live if it is empty, or names an origin or batch that is not known (any
// more). Up, then the clock, then the view are read, and the view holds every batch up to
// the head that it states. A full one may already hold an event whose commit is yet to be
// acknowledged; applying it again changes nothing. Full answers that wait for one another
// share the next view. The caller must not change Events, which may be shared.
func (l *Ledger) Answer(ctx context.Context, after string) (revocation.Answer, error) {
	positions, err := parsePosition(after)
	if err != nil {
		return revocation.Answer{}, err
	}
	a := revocation.Answer{V: revocation.Version, Store: l.storeID, Origin: l.origin, Up: l.Up()}
	a.AtMS = l.Now().UnixMilli()

	var head uint64
	events, known, err := l.delta(ctx, positions, &head)
	if err == nil && !known {
		a.Full = true
		head, events, err = l.full(ctx)
	}
	if err != nil {
		return revocation.Answer{}, fmt.Errorf("answering a catch-up: %w", err)
	}
	a.Events = events
	if a.Events == nil {
		a.Events = []revocation.Event{}
	}
	a.Origins = []revocation.OriginHead{{Origin: l.origin, Head: head}}
	a.Kids = append([]string{}, l.config.Kids()...)
	// After the view: whatever was collected before or during it ended by this floor.
	a.TimeFloor = l.TimeFloor()
	a.AtMS = max(a.AtMS, a.TimeFloor*1000)
	return a, nil
}

// delta returns the events after a position, or false if the position is not known.
func (l *Ledger) delta(ctx context.Context, positions map[string]uint64, head *uint64) ([]revocation.Event, bool, error) {
	seq, ok := positions[l.origin]
	if !ok || len(positions) != 1 {
		return nil, false, nil
	}
	l.mu.Lock()
	first := l.first
	*head = l.head
	l.mu.Unlock()
	if seq > *head || seq+1 < first {
		return nil, false, nil
	}
	var events []revocation.Event
	for seq < *head {
		batches, err := l.readBatches(ctx, seq, min(*head-seq, pageSize))
		if err != nil {
			return nil, false, err
		}
		if len(batches) == 0 { // collected meanwhile
			return nil, false, nil
		}
		for _, b := range batches {
			events = append(events, b.Events...)
		}
		seq += uint64(len(batches))
	}
	return events, true, nil
}

// readBatches returns up to limit own batches after seq, without a gap: none if the next
// one was collected.
func (l *Ledger) readBatches(ctx context.Context, seq, limit uint64) ([]revocation.Batch, error) {
	prefix := batchPrefix + l.origin + "."
	records, err := l.config.Store.List(ctx, prefix, batchKey(l.origin, seq), int(limit))
	if err != nil {
		return nil, err
	}
	batches := make([]revocation.Batch, 0, len(records))
	for _, r := range records {
		var b revocation.Batch
		if err := decode(r, &b, &b.V); err != nil {
			return nil, err
		}
		if b.Seq != seq+1 {
			break
		}
		seq++
		batches = append(batches, b)
	}
	return batches, nil
}

// views lets full answers that wait share one.
type views struct {
	turn    chan struct{} // holds a token while nobody reads a view
	begun   atomic.Uint64 // the number of the last view that was begun
	waiting atomic.Int64

	// By turn:
	last   uint64 // the number of the view below, zero if there is none
	head   uint64
	events []revocation.Event
}

func (v *views) init() {
	v.turn = make(chan struct{}, 1)
	v.turn <- struct{}{}
}

// full returns everything live, from a view that began after the call.
func (l *Ledger) full(ctx context.Context) (uint64, []revocation.Event, error) {
	v := &l.views
	arrived := v.begun.Load()
	v.waiting.Add(1)
	select {
	case <-v.turn:
	case <-ctx.Done():
		v.waiting.Add(-1)
		return 0, nil, ctx.Err()
	}
	defer func() {
		if v.waiting.Add(-1) == 0 {
			v.last, v.events = 0, nil // nobody is left to share it with
		}
		v.turn <- struct{}{}
	}()
	if v.last > arrived {
		return v.head, v.events, nil
	}
	v.last, v.events = 0, nil
	number := v.begun.Add(1)
	head := l.Head()
	var events []revocation.Event
	err := l.eachEvent(ctx, func(page []revocation.Event) { events = append(events, page...) })
	if err != nil {
		return 0, nil, err
	}
	v.last, v.head, v.events = number, head, events
	return head, events, nil
}

// parsePosition reads <origin>.<seq>[,…]; an empty one is no position.
func parsePosition(after string) (map[string]uint64, error) {
	if after == "" {
		return nil, nil
	}
	parts := strings.Split(after, ",")
	if len(parts) > maxPositions {
		return nil, fmt.Errorf("%w: more than %d origins", ErrBadPosition, maxPositions)
	}
	positions := make(map[string]uint64, len(parts))
	for _, part := range parts {
		origin, digits, ok := strings.Cut(part, ".")
		if !ok || origin == "" || len(origin) > maxOriginLength || strings.ContainsFunc(origin, notPlain) {
			return nil, fmt.Errorf("%w: %.80q", ErrBadPosition, part)
		}
		seq, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || seq > revocation.MaxSeq || strconv.FormatUint(seq, 10) != digits {
			return nil, fmt.Errorf("%w: sequence number of %.80q", ErrBadPosition, part)
		}
		if _, twice := positions[origin]; twice {
			return nil, fmt.Errorf("%w: origin %s twice", ErrBadPosition, origin)
		}
		positions[origin] = seq
	}
	return positions, nil
}

var _ store.Seal = (*Ledger)(nil).Seal
