package simtest_test

import (
	"cmp"
	"time"
)

type event struct {
	at    time.Duration
	rank  uint64 // of a goroutine, zero for the loop itself
	order int    // first come, first served
	run   func()
}

func (e event) before(o event) bool {
	return cmp.Or(cmp.Compare(e.at, o.at), cmp.Compare(e.rank, o.rank), cmp.Compare(e.order, o.order)) < 0
}

// queue is a binary heap of scheduled events.
type queue struct {
	events []event
	order  int
}

func (q *queue) push(at time.Duration, rank uint64, run func()) {
	q.order++
	q.events = append(q.events, event{at: at, rank: rank, order: q.order, run: run})
	for i := len(q.events) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.events[i].before(q.events[parent]) {
			return
		}
		q.events[i], q.events[parent] = q.events[parent], q.events[i]
		i = parent
	}
}

func (q *queue) pop() event {
	first, last := q.events[0], len(q.events)-1
	q.events[0] = q.events[last]
	q.events[last] = event{}
	q.events = q.events[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && q.events[child].before(q.events[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		q.events[i], q.events[least] = q.events[least], q.events[i]
		i = least
	}
}
