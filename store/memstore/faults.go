package memstore

import (
	"fmt"
	"maps"

	"tokenbroker/store"
)

// OpKind is a kind of operation of a [Handle].
type OpKind int

// The operations. A GetMany of more than [store.MaxMany] keys is several.
const (
	OpGet OpKind = iota
	OpGetMany
	OpList
	OpCommit
	OpHint    // a hint is about to be sent to the handle's followers of a prefix
	OpConfirm // a call of [Primary.Confirm]
)

// Op is an operation that may fail.
type Op struct {
	Kind OpKind
	// Key is the key of Get, the prefix of List and of a hint, and the fence's key of a commit.
	Key string
	// Fence and Changes belong to a commit, which has passed its seal. Faults must not change them.
	Fence   store.Fence
	Changes []store.Change
}

// Fault is what happens to an operation.
type Fault int

// The faults. A read fails with each except OK and Duplicate.
const (
	// OK is none.
	OK Fault = iota
	// Refuse makes the operation fail with [store.ErrUnavailable] before it reaches the engine. A hint is lost.
	Refuse
	// LoseAnswer makes a commit return [store.ErrUncertain] after it was judged. A hint is lost.
	LoseAnswer
	// Keep makes a commit return [store.ErrUncertain] and leaves it on its way until [Engine.Retransmit]. A hint
	// is late by the same time. A confirmation waits until its context ends.
	Keep
	// Duplicate lets a commit or a hint pass and leaves a second copy of it on its way.
	Duplicate
)

var errLost = fmt.Errorf("%w: the answer was lost", store.ErrUncertain)

// keep leaves a transaction on its way.
func (e *Engine) keep(t *txn) {
	t = t.clone()
	e.later(func() { e.apply(t) })
}

func (e *Engine) later(deliver func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(e.kept, deliver)
}

// Kept returns the number of commits and hints that are on their way.
func (e *Engine) Kept() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.kept)
}

// Retransmit delivers the commits and hints that are on their way, in order, and forgets them. A commit is judged
// when it is delivered; with a fence that has moved it writes nothing.
func (e *Engine) Retransmit() {
	e.mu.Lock()
	kept := e.kept
	e.kept = nil
	e.mu.Unlock()
	for _, deliver := range kept {
		deliver()
	}
}

// notify sends hints for the written records to the followers of all handles.
func (e *Engine) notify(written map[string]store.Write) {
	e.mu.Lock()
	handles := e.handles[:len(e.handles):len(e.handles)]
	e.mu.Unlock()
	for _, h := range handles {
		h.hints.Changed(maps.Keys(written), func(prefix string, send func()) {
			switch h.faults(Op{Kind: OpHint, Key: prefix}) {
			case Refuse, LoseAnswer:
			case Keep:
				e.later(send)
			case Duplicate:
				send()
				e.later(send)
			default:
				send()
			}
		})
	}
}
