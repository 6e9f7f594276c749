package broker

import (
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"tokenbroker/broker/store"
)

// maxEpochGroup is how many changes with an epoch travel as one.
const maxEpochGroup = 256

// epochQueue holds the changes that want an epoch. There is no goroutine: whoever has the
// turn commits for all that wait. Its length is that of the callers.
type epochQueue struct {
	turn *semaphore.Weighted

	mu      sync.Mutex
	waiting []*epochRequest // guarded by mu
}

// epochRequest is one change that wants an epoch. seq and err are set before done is closed.
type epochRequest struct {
	everybody bool
	build     func(drawnEpoch) (*store.Change, error)

	done chan struct{}
	seq  uint64
	err  error
}

func newEpochQueue() epochQueue { return epochQueue{turn: semaphore.NewWeighted(1)} }

func (q *epochQueue) add(r *epochRequest) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, r)
}

// remove takes r back, if nobody has begun with it.
func (q *epochQueue) remove(r *epochRequest) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take gives the next group to whoever has the turn.
func (q *epochQueue) take() []*epochRequest {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxEpochGroup)
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return group
}

// putBack makes those that were taken the next ones again.
func (q *epochQueue) putBack(group []*epochRequest) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(slices.Clone(group), q.waiting...)
}

func (r *epochRequest) finished() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// finish answers those that have no answer yet.
func finish(group []*epochRequest, seq uint64, err error) {
	for _, r := range group {
		if !r.finished() {
			r.seq, r.err = seq, err
			close(r.done)
		}
	}
}
