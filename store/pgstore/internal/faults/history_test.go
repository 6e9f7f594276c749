package faults_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is a confirmed read of a record, or a commit that replaces its value. Values are unique, "" is no record.
type operation struct {
	key   string
	write bool
	// value was read, or is the one that the commit writes where it found old.
	old, value string
}

// result is that of a commit.
type result int

const (
	written result = iota
	// unknown means that the commit may have happened before it returned. If it did, a later read shows its value, because
	// every other commit of the record expects it.
	unknown
)

// register is the contract of a record. The state is its value.
var register = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		keys := map[string][]porcupine.Operation{}
		for _, o := range all {
			key := o.Input.(operation).key
			keys[key] = append(keys[key], o)
		}
		return slices.Collect(maps.Values(keys))
	},
	Init: func() any { return "" },
	Step: func(state, in, _ any) (bool, any) {
		o := in.(operation)
		if o.write {
			return state == o.old, o.value
		}
		return state == o.value, state
	},
}

// history is what the clients of a store saw. It is safe for concurrent use.
type history struct {
	start time.Time

	mu         sync.Mutex // guards the rest
	operations []porcupine.Operation
	writes     []time.Duration   // when a commit was acknowledged
	reads      int               // that were confirmed
	uncertain  int               // commits that were not settled
	events     map[string]bool   // those whose commits were acknowledged
	heads      map[string]uint64 // by origin: the highest batch of an acknowledged commit
}

func newHistory() *history {
	return &history{start: time.Now(), events: make(map[string]bool), heads: make(map[string]uint64)}
}

func (h *history) now() time.Duration { return time.Since(h.start) }

// forever is when an operation without an answer has ended.
const forever = time.Duration(1 << 62)

// add adds an operation that began at call and ended at end.
func (h *history) add(o operation, r result, call, end time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{Input: o, Output: r, Call: int64(call), Return: int64(end)})
	switch {
	case !o.write:
		h.reads++
	case r == written:
		h.writes = append(h.writes, end)
	case end == forever:
		h.uncertain++
	}
}

// recorded adds events whose commit was acknowledged, with the batch that has them.
func (h *history) recorded(origin string, head uint64, events []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heads[origin] = max(h.heads[origin], head)
	for _, event := range events {
		h.events[event] = true
	}
}

// acknowledgedHeads returns a copy of heads.
func (h *history) acknowledgedHeads() map[string]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.heads)
}

// acknowledged returns how many commits were.
func (h *history) acknowledged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.writes)
}

// gap returns the longest time without an acknowledged commit since a moment.
func (h *history) gap(since time.Duration) (longest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.writes)
	for _, at := range h.writes {
		if at > since {
			longest, since = max(longest, at-since), at
		}
	}
	return longest
}

// wrong returns the operations of the records for which no order explains them, by the time of their call.
func (h *history) wrong() (all [][]porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	read := map[string]bool{}
	for _, o := range h.operations {
		if in := o.Input.(operation); !in.write {
			read[in.key+" "+in.value] = true
		}
	}
	happened := slices.DeleteFunc(slices.Clone(h.operations), func(o porcupine.Operation) bool {
		in := o.Input.(operation)
		return o.Output == unknown && !read[in.key+" "+in.value]
	})
	for _, operations := range register.Partition(happened) {
		if porcupine.CheckOperationsTimeout(register, operations, time.Minute) != porcupine.Ok {
			slices.SortFunc(operations, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
			all = append(all, operations)
		}
	}
	return all
}

func describe(o porcupine.Operation) string {
	in := o.Input.(operation)
	text := fmt.Sprintf("%12s to %12s: ", time.Duration(o.Call).Round(time.Microsecond), time.Duration(o.Return).Round(time.Microsecond))
	switch {
	case !in.write:
		return text + "read " + in.value
	case o.Output == unknown:
		return text + in.old + " to " + in.value + ": unknown"
	}
	return text + in.old + " to " + in.value
}

// TestTheCheckerRefusesBadHistories plants each fault that the checker has to find, and the harmless histories that are close
// to them.
func TestTheCheckerRefusesBadHistories(t *testing.T) {
	type line struct {
		call, end time.Duration
		o         operation
		r         result
	}
	read := func(value string) operation { return operation{key: "k", value: value} }
	write := func(old, value string) operation { return operation{key: "k", write: true, old: old, value: value} }
	for name, tc := range map[string]struct {
		lines []line
		wrong bool
	}{
		"commits and reads":                  {lines: []line{{0, 1, write("", "a"), written}, {2, 3, read("a"), written}, {4, 5, write("a", "b"), written}, {6, 7, read("b"), written}}},
		"a stale read":                       {wrong: true, lines: []line{{0, 1, write("", "a"), written}, {2, 3, write("a", "b"), written}, {4, 5, read("a"), written}}},
		"a read during a commit":             {lines: []line{{0, 1, write("", "a"), written}, {2, 5, write("a", "b"), written}, {3, 4, read("a"), written}}},
		"two successors":                     {wrong: true, lines: []line{{0, 1, write("", "a"), written}, {2, 5, write("a", "b"), written}, {3, 4, write("a", "c"), written}}},
		"a commit is lost":                   {wrong: true, lines: []line{{0, 1, write("", "a"), written}, {2, 3, read(""), written}}},
		"an unknown commit happens":          {lines: []line{{0, forever, write("", "a"), unknown}, {2, 3, read(""), written}, {4, 5, read("a"), written}}},
		"an unknown commit never happens":    {lines: []line{{0, forever, write("", "a"), unknown}, {2, 3, read(""), written}, {4, 5, write("", "b"), written}, {6, 7, read("b"), written}}},
		"an unknown commit did not conflict": {lines: []line{{0, 1, write("", "a"), unknown}, {2, 3, read(""), written}}},
		"an unknown commit happens once":     {wrong: true, lines: []line{{0, 1, write("", "a"), unknown}, {2, 3, write("", "b"), written}, {4, 5, read("a"), written}}},
		"an unknown commit is undone":        {wrong: true, lines: []line{{0, forever, write("", "a"), unknown}, {2, 3, read("a"), written}, {4, 5, read(""), written}}},
		"a refused commit happens later":     {wrong: true, lines: []line{{0, 1, write("", "a"), written}, {2, 3, write("", "b"), unknown}, {4, 5, read("b"), written}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			for _, l := range tc.lines {
				h.add(l.o, l.r, l.call, l.end)
			}
			if wrong := len(h.wrong()) > 0; wrong != tc.wrong {
				t.Errorf("the checker refuses the history: %t, want %t", wrong, tc.wrong)
			}
		})
	}
}
