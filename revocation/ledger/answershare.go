package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tokenbroker/revocation"
)

const (
	// fullAtOnce and deltasAtOnce are the numbers of answers that are encoded at a time.
	fullAtOnce   = 1
	deltasAtOnce = 4
	// answerKept is how long an answer that was ready too late is kept for callers that ask again: longer
	// than the longest wait of a service between two catch-ups. draftLife is how long an answer that is
	// requested again and again is brought up to date before it is made from the start.
	answerKept = 30 * time.Second
	draftLife  = 2 * time.Minute
	// unawaitedDeltas is the number of keys up to which deltas are encoded without a waiting caller.
	unawaitedDeltas = 64
)

// answerKey identifies answers with the same content.
type answerKey struct {
	form  revocation.Form
	all   bool // lists all origins
	delta bool
	index uint64 // after which a delta starts
}

// answers encodes one answer for all callers that wait for the same. Each encoding has a goroutine. It
// ends early when no caller is left, unless one left because of its deadline, because that caller is
// expected to ask again. close ends the goroutines.
type answers struct {
	full, deltas chan struct{} // a token in it for each encoding that is being made

	run    context.Context // ends with close
	stop   context.CancelFunc
	making sync.WaitGroup // added to with mu held, not after closed

	mu sync.Mutex
	// mu guards all below, and the slots, their encodings and kept answers.
	closed  bool
	slots   map[answerKey]*slot
	limit   int64            // answersInUse
	held    int64            // bytes in use
	clients map[string]int64 // bytes in use by each client; one answer counts for all that use it
	freed   chan struct{}
	encoded uint64 // how many were made
}

// slot has the encodings and the answer of one key: at most one encoding that is being made and one that will be
// made after it, and an answer that is kept. It is there while it has any of them.
type slot struct {
	turn    chan struct{} // holds a token while no encoding runs
	next    *encoding     // that has not started: callers join it
	flights int

	kept  *shared // nil if no answer is kept
	draft *draft  // of kept; nil while it is being brought up to date
	until time.Time
	timer *time.Timer
}

// draft is an answer that can be brought up to date: a builder with every event up to the index head.
type draft struct {
	as      revocation.Form
	builder *revocation.AnswerBuilder
	head    uint64
	made    time.Time // the time of the last full read
	// own is the origin of this broker and heads the heads of all origins at head, on a shared engine.
	own   string
	heads map[string]uint64
}

func newDraft(as revocation.Form, head uint64) *draft {
	return &draft{as: as, builder: revocation.NewAnswerBuilder(as), head: head, made: time.Now()}
}

// encoder makes an answer from a draft, or from the start if that is nil.
type encoder func(ctx context.Context, from *draft) (*draft, *revocation.EncodedAnswer, error)

// encoding is one encoding.
type encoding struct {
	cancel        context.CancelFunc
	callers       map[string]int // how many wait for it, by client
	waiting       int            // the sum of callers
	retryExpected bool           // a caller left because of its deadline
	started       bool

	done   chan struct{} // closed once result or err is set
	result *shared
	err    error
}

func (a *answers) init() {
	a.full = make(chan struct{}, fullAtOnce)
	a.deltas = make(chan struct{}, deltasAtOnce)
	a.run, a.stop = context.WithCancel(context.Background())
	a.limit = answersInUse
	a.slots = make(map[answerKey]*slot)
	a.clients = make(map[string]int64)
	a.freed = make(chan struct{})
}

// close ends all encodings and waits for them. Later calls of get fail.
func (a *answers) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stop()
	a.making.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, s := range a.slots {
		a.dropKept(s)
		a.removeIfEmpty(key, s)
	}
}

// get returns an answer whose encoding started, or was brought up to date, after the call. A client that
// uses its whole share gets the answers of other callers, and [ErrTooManyAnswers] if one would have to be
// encoded for it. The client "" is this process, which has no share. If the deadline of ctx ends the call,
// the encoding continues and its answer is kept for answerKept.
func (a *answers) get(ctx context.Context, client string, key answerKey, encode encoder) (*EncodedAnswer, error) {
	s, f, err := a.join(client, key, encode)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.stopWaiting(client, key, s, f, errors.Is(ctx.Err(), context.DeadlineExceeded))
	switch {
	case f.result != nil:
		return f.result.hold(client), nil
	case f.err != nil:
		return nil, f.err
	}
	return nil, ctx.Err()
}

// join makes the client wait for the next encoding of key. An encoding that has already started cannot be
// used, because this caller may know of an event that was recorded since.
func (a *answers) join(client string, key answerKey, encode encoder) (*slot, *encoding, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, nil, context.Canceled
	}
	s := a.slots[key]
	if s == nil {
		s = &slot{turn: make(chan struct{}, 1)}
		s.turn <- struct{}{}
	}
	f := s.next
	if f == nil {
		a.dropOthersKept(s)
		if a.overShare(client) {
			return nil, nil, fmt.Errorf("%w: %d bytes are in use", ErrTooManyAnswers, a.clients[client])
		}
		ctx, cancel := context.WithCancel(a.run)
		f = &encoding{cancel: cancel, callers: make(map[string]int), done: make(chan struct{})}
		a.slots[key], s.next = s, f
		s.flights++
		a.making.Go(func() { a.encodeInTurn(ctx, key, s, f, encode) })
	}
	f.callers[client]++
	f.waiting++
	return s, f, nil
}

// encodeInTurn makes one encoding in its turn.
func (a *answers) encodeInTurn(ctx context.Context, key answerKey, s *slot, f *encoding, encode encoder) {
	defer f.cancel()
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		a.encodingDone(key, s, f, nil, nil, ctx.Err())
		return
	}
	d, answer, err := a.encode(ctx, key, s, f, encode)
	a.encodingDone(key, s, f, d, answer, err)
}

func (a *answers) encode(ctx context.Context, key answerKey, s *slot, f *encoding, encode encoder) (*draft, *revocation.EncodedAnswer, error) {
	lane := a.full
	if key.delta || a.hasDraft(s) {
		lane = a.deltas
	}
	select {
	case lane <- struct{}{}:
		defer func() { <-lane }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if err := a.waitForMemory(ctx, s, f); err != nil {
		return nil, nil, err
	}
	return encode(ctx, a.takeDraft(s, f))
}

func (a *answers) hasDraft(s *slot) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return s.draft != nil
}

// takeDraft takes the draft of the slot, if there is one. Later callers join another encoding.
func (a *answers) takeDraft(s *slot, f *encoding) *draft {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.started, s.next = true, nil
	a.encoded++
	d := s.draft
	s.draft = nil
	return d
}

// encodingDone passes the result of an encoding to the callers that wait for it.
func (a *answers) encodingDone(key answerKey, s *slot, f *encoding, d *draft, answer *revocation.EncodedAnswer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.err = err
	if s.next == f {
		s.next = nil
	}
	if err == nil {
		f.result = &shared{owner: a, answer: answer, holds: 1, by: map[string]int{}}
		a.held += answer.Size()
		now := time.Now()
		if last := d.made.Add(draftLife); f.retryExpected {
			s.until = now.Add(min(answerKept, last.Sub(now)))
		}
		a.dropKept(s)
		if left := s.until.Sub(now); left > 0 && !a.closed {
			f.result.holds++
			s.kept, s.draft = f.result, d
			s.timer = time.AfterFunc(left, func() { a.expire(key, s, d) })
		}
		if f.waiting == 0 {
			a.drop(f.result)
		}
	}
	close(f.done)
	s.flights--
	a.removeIfEmpty(key, s)
}

// expire drops the kept answer if it is still the one that the timer was set for.
func (a *answers) expire(key answerKey, s *slot, d *draft) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.draft == d {
		a.dropKept(s)
		a.removeIfEmpty(key, s)
	}
}

// The following functions are called with mu held.

// stopWaiting ends a caller's wait. An encoding for which no caller waits is cancelled, unless a caller is
// expected to ask again; deltas are then cancelled where there are very many keys.
func (a *answers) stopWaiting(client string, key answerKey, s *slot, f *encoding, late bool) {
	if f.callers[client]--; f.callers[client] == 0 {
		delete(f.callers, client)
	}
	f.waiting--
	landed := f.result != nil || f.err != nil
	f.retryExpected = f.retryExpected || late && !landed
	switch {
	case f.waiting > 0:
	case f.result != nil:
		a.drop(f.result)
	case f.err == nil && (!f.retryExpected || !f.started && key.delta && len(a.slots) > unawaitedDeltas):
		f.cancel()
		if s.next == f {
			s.next = nil
		}
	}
}
