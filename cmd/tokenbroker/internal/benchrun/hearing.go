package benchrun

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// hearing is one message under way to several, who each say once that they have it.
type hearing struct {
	waiting atomic.Int64
	last    time.Time     // set before all is closed
	all     chan struct{} // closed when the last one has it
}

func newHearing(want int) *hearing {
	h := &hearing{all: make(chan struct{})}
	h.waiting.Store(int64(want))
	return h
}

// one says that one more has it.
func (h *hearing) one() {
	if h.waiting.Add(-1) == 0 {
		h.last = time.Now()
		close(h.all)
	}
}

// lastHears is how long the last one may take.
const lastHears = 10 * time.Second

var errUnheard = errors.New("not all of the subscribers heard in time")

// wait returns when the last one had it.
func (h *hearing) wait(ctx context.Context) (time.Time, error) {
	timeout := time.NewTimer(lastHears)
	defer timeout.Stop()
	select {
	case <-h.all:
		return h.last, nil
	case <-timeout.C:
		return time.Time{}, errUnheard
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}
