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
	// fullAtOnce and deltasAtOnce are how many are encoded at a time.
	fullAtOnce   = 1
	deltasAtOnce = 4
	// answerKept is how long an answer that was ready too late is kept for those who ask again:
	// longer than the longest wait of a service between two catch-ups. draftLife bounds how long
	// one that is asked for again and again is brought up to date and not made from the start.
	answerKept = 30 * time.Second
	draftLife  = 2 * time.Minute
	// promisedDeltas is how many keys there may be for deltas to be made that nobody waits for.
	promisedDeltas = 64
)

// answerKey names the answers that say the same.
type answerKey struct {
	form  revocation.Form
	delta bool
	seq   uint64 // of a delta
}

// answers encodes one answer for all who wait for the same. Each encoding has a goroutine. It ends
// early when no caller is left, unless one left because of its deadline: that one is expected to
// ask again. close ends the goroutines.
type answers struct {
	full, deltas chan struct{} // a token in it for each encoding that is being made

	run    context.Context // ends with close
	stop   context.CancelFunc
	making sync.WaitGroup // added to with mu held, not after closed

	mu sync.Mutex
	// mu guards all below, and the shelves, their flights and what they hold.
	closed  bool
	shelves map[answerKey]*shelf
	limit   int64            // answersInUse
	held    int64            // bytes in use
	clients map[string]int64 // bytes in use by each client; one answer counts for all that use it
	freed   chan struct{}
	encoded uint64 // how many were made
}

// shelf is what there is of one key: at most one encoding that is being made and one that will be
// made after it, and an answer that is kept. It is there while it has any of them.
type shelf struct {
	turn    chan struct{} // holds a token while nobody encodes
	next    *flight       // whose making has not begun: callers join it
	flights int

	kept  *shared // nil: none
	draft *draft  // of kept; nil while it is being brought up to date
	until time.Time
	timer *time.Timer
}

// draft is an answer that can be brought up to date: a builder with every event up to head.
type draft struct {
	builder *revocation.AnswerBuilder
	head    uint64
	made    time.Time // when it was made from the start
}

// encoder makes an answer from a draft, or from the start if that is nil.
type encoder func(ctx context.Context, from *draft) (*draft, *revocation.EncodedAnswer, error)

// flight is one encoding.
type flight struct {
	cancel   context.CancelFunc
	callers  map[string]int // how many wait for it, by client
	waiting  int            // the sum of callers
	promised bool           // a caller left because of its deadline
	begun    bool

	done   chan struct{} // closed once result or err is set
	result *shared
	err    error
}

func (a *answers) init() {
	a.full = make(chan struct{}, fullAtOnce)
	a.deltas = make(chan struct{}, deltasAtOnce)
	a.run, a.stop = context.WithCancel(context.Background())
	a.limit = answersInUse
	a.shelves = make(map[answerKey]*shelf)
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
	for key, s := range a.shelves {
		a.unkeep(s)
		a.tidy(key, s)
	}
}

// get returns an answer that encode began to make, or to bring up to date, after the call. A client
// with as much in use as it may have gets what others make, and [ErrTooManyAnswers] where it would
// have to make one; the client "" is this process, which has no share. When ctx ends by its
// deadline the encoding goes on, and what it has is kept for answerKept.
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
	defer a.leave(client, key, s, f, errors.Is(ctx.Err(), context.DeadlineExceeded))
	switch {
	case f.result != nil:
		return f.result.hold(client), nil
	case f.err != nil:
		return nil, f.err
	}
	return nil, ctx.Err()
}

// join has the client wait for the next encoding of key. One that was begun by now does not serve
// this caller, who may know of what was recorded since.
func (a *answers) join(client string, key answerKey, encode encoder) (*shelf, *flight, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, nil, context.Canceled
	}
	s := a.shelves[key]
	if s == nil {
		s = &shelf{turn: make(chan struct{}, 1)}
		s.turn <- struct{}{}
	}
	f := s.next
	if f == nil {
		a.shed(s)
		if a.over(client) {
			return nil, nil, fmt.Errorf("%w: %d bytes are in use", ErrTooManyAnswers, a.clients[client])
		}
		ctx, cancel := context.WithCancel(a.run)
		f = &flight{cancel: cancel, callers: make(map[string]int), done: make(chan struct{})}
		a.shelves[key], s.next = s, f
		s.flights++
		a.making.Go(func() { a.fly(ctx, key, s, f, encode) })
	}
	f.callers[client]++
	f.waiting++
	return s, f, nil
}

// fly makes one encoding in its turn.
func (a *answers) fly(ctx context.Context, key answerKey, s *shelf, f *flight, encode encoder) {
	defer f.cancel()
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		a.land(key, s, f, nil, nil, ctx.Err())
		return
	}
	d, answer, err := a.encode(ctx, key, s, f, encode)
	a.land(key, s, f, d, answer, err)
}

func (a *answers) encode(ctx context.Context, key answerKey, s *shelf, f *flight, encode encoder) (*draft, *revocation.EncodedAnswer, error) {
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
	if err := a.room(ctx, s, f); err != nil {
		return nil, nil, err
	}
	return encode(ctx, a.begin(s, f))
}

func (a *answers) hasDraft(s *shelf) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return s.draft != nil
}

// begin takes the draft of the shelf, if there is one. From here on callers join another encoding.
func (a *answers) begin(s *shelf, f *flight) *draft {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.begun, s.next = true, nil
	a.encoded++
	d := s.draft
	s.draft = nil
	return d
}

// land hands an encoding to those who wait for it.
func (a *answers) land(key answerKey, s *shelf, f *flight, d *draft, answer *revocation.EncodedAnswer, err error) {
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
		if last := d.made.Add(draftLife); f.promised {
			s.until = now.Add(min(answerKept, last.Sub(now)))
		}
		a.unkeep(s)
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
	a.tidy(key, s)
}

// expire ends the keeping of a draft that is no other by now.
func (a *answers) expire(key answerKey, s *shelf, d *draft) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.draft == d {
		a.unkeep(s)
		a.tidy(key, s)
	}
}

// What follows is called with mu held.

// leave ends a caller's wait. An encoding for which nobody waits is given up, unless somebody is
// expected to ask again; deltas are then given up where there are very many keys.
func (a *answers) leave(client string, key answerKey, s *shelf, f *flight, late bool) {
	if f.callers[client]--; f.callers[client] == 0 {
		delete(f.callers, client)
	}
	f.waiting--
	landed := f.result != nil || f.err != nil
	f.promised = f.promised || late && !landed
	switch {
	case f.waiting > 0:
	case f.result != nil:
		a.drop(f.result)
	case f.err == nil && (!f.promised || !f.begun && key.delta && len(a.shelves) > promisedDeltas):
		f.cancel()
		if s.next == f {
			s.next = nil
		}
	}
}
