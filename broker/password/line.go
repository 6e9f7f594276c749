package password

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Priority says who of those who wait is served first.
type Priority int

const (
	// Low is for callers that anyone can send in any number.
	Low Priority = iota
	// High is for callers that a stranger cannot imitate: operators, and sign-ins from where
	// users are known to be.
	High
	priorities
)

// lowTurn: of so many slots that become free while both classes wait, Low gets one.
const lowTurn = 4

// line is a number of slots and those who wait for one. Each slot that becomes free goes to
// the caller of High priority who has waited longest, and every lowTurn-th one to a Low
// caller. While only one class waits, it gets all slots. A quarter of the places to wait in is kept
// for High.
type line struct {
	places int
	wait   time.Duration // 0: as long as it takes

	mu      sync.Mutex // guards what is below
	free    int        // slots; above 0 only while no caller waits
	waiting [priorities]list.List
	turn    int // slots that High got since Low had one while it waited
}

// acquire takes a slot, which the caller has to release. It waits if there is a place to wait
// in. Errors are ErrBusy and ctx.Err().
func (l *line) acquire(ctx context.Context, p Priority) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return nil
	}
	if !l.hasPlace(p) {
		l.mu.Unlock()
		return ErrBusy
	}
	slot := make(chan struct{})
	place := l.waiting[p].PushBack(slot)
	l.mu.Unlock()

	var late <-chan time.Time
	if l.wait > 0 {
		timer := time.NewTimer(l.wait)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case <-slot:
		return nil
	case <-late:
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-slot: // at the same moment
		l.handOver()
	default:
		l.waiting[p].Remove(place)
	}
	return err
}

func (l *line) hasPlace(p Priority) bool {
	all := l.waiting[Low].Len() + l.waiting[High].Len()
	return all < l.places && (p == High || l.waiting[Low].Len() < l.places-l.places/4)
}

// release returns a slot.
func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handOver()
}

// handOver passes a slot to the next who waits. l.mu is held.
func (l *line) handOver() {
	next := High
	switch low, high := l.waiting[Low].Len() > 0, l.waiting[High].Len() > 0; {
	case !low && !high:
		l.free++
		return
	case !high, low && l.turn == lowTurn-1:
		next, l.turn = Low, 0
	case low:
		l.turn++
	}
	close(l.waiting[next].Remove(l.waiting[next].Front()).(chan struct{}))
}
