package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"tokenbroker/revocation"
)

const (
	// answersInUse is how many bytes of encoded answers may be in use before another is made. A
	// client that uses some already may have another only below three quarters of it in all, and
	// below a quarter of its own: the rest is kept for clients that have none.
	answersInUse = 256 << 20
	// fullAtOnce and deltasAtOnce are how many are encoded at a time.
	fullAtOnce   = 1
	deltasAtOnce = 4
)

// ErrTooManyAnswers says that a client uses as much of the memory for answers as it may.
var ErrTooManyAnswers = errors.New("the client reads too many answers")

// EncodedAnswer is a catch-up answer that may be shared. Close gives it back.
type EncodedAnswer struct {
	*revocation.EncodedAnswer
	of     *shared
	client string
	once   sync.Once
}

// Close gives the answer back, which is not used any more. It may be called again.
func (a *EncodedAnswer) Close() error {
	a.once.Do(func() { a.of.owner.release(a.of, a.client) })
	return nil
}

// answerKey names the answers that say the same.
type answerKey struct {
	form  revocation.Form
	delta bool
	seq   uint64 // of a delta
}

// answers encodes one answer for all who wait for the same. There is no goroutine: whoever
// has the shelf's turn encodes, and leaves the result on the shelf for those behind.
type answers struct {
	full, deltas chan struct{} // a token in it for each encoding that is being made

	mu sync.Mutex
	// mu guards all below, and the shelves and what lies on them.
	shelves map[answerKey]*shelf
	limit   int64            // answersInUse
	held    int64            // bytes in use
	clients map[string]int64 // bytes in use by each client; one answer counts for all that use it
	freed   chan struct{}
	encoded uint64 // how many were made
}

// shelf is where those who wait for one key meet. It is there while somebody waits.
type shelf struct {
	turn    chan struct{} // holds a token while nobody encodes
	waiting int
	begun   uint64 // the number of the last encoding whose making was begun

	last    uint64 // the number of what lies here; zero: nothing
	result  *shared
	failure error // in place of a result
}

// shared is one encoded answer and how many hold it.
type shared struct {
	owner  *answers
	answer *revocation.EncodedAnswer
	holds  int
	by     map[string]int // holds by client
}

func (a *answers) init() {
	a.full = make(chan struct{}, fullAtOnce)
	a.deltas = make(chan struct{}, deltasAtOnce)
	a.limit = answersInUse
	a.shelves = make(map[answerKey]*shelf)
	a.clients = make(map[string]int64)
	a.freed = make(chan struct{})
}

// get returns an answer that encode began to make after the call. A client with as much in use
// as it may have gets what others make, and [ErrTooManyAnswers] where it would have to make one;
// the client "" is this process, which has no share.
func (a *answers) get(ctx context.Context, client string, key answerKey, encode func() (*revocation.EncodedAnswer, error)) (*EncodedAnswer, error) {
	s, arrived := a.arrive(key)
	defer a.leave(key, s)
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if e, err := a.find(s, arrived, client); e != nil || err != nil {
		return e, err
	}
	lane := a.full
	if key.delta {
		lane = a.deltas
	}
	select {
	case lane <- struct{}{}:
		defer func() { <-lane }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := a.room(ctx, client); err != nil {
		return nil, err
	}
	number := a.begin(s)
	answer, err := encode()
	if err != nil && ctx.Err() != nil { // this caller's own trouble
		return nil, err
	}
	return a.put(s, number, answer, err, client)
}

// arrive joins the shelf of key. What was begun by now does not serve this caller, who may
// know of what was recorded since.
func (a *answers) arrive(key answerKey) (s *shelf, arrived uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s = a.shelves[key]
	if s == nil {
		s = &shelf{turn: make(chan struct{}, 1)}
		s.turn <- struct{}{}
		a.shelves[key] = s
	}
	s.waiting++
	return s, s.begun
}

// leave clears the shelf when nobody is left to share with, however the last one went.
func (a *answers) leave(key answerKey, s *shelf) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.waiting--
	if s.waiting == 0 {
		delete(a.shelves, key)
		a.clear(s)
	}
}

// find gives what lies on the shelf if it was begun after arrived. If not it is cleared,
// and there is neither an answer nor an error.
func (a *answers) find(s *shelf, arrived uint64, client string) (*EncodedAnswer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case s.last <= arrived:
		a.clear(s)
		return nil, nil
	case s.failure != nil:
		return nil, s.failure
	}
	return s.result.hold(client), nil
}

// room waits until no more than the limit is in use. It does not wait for a client that uses
// some already, because others wait behind it.
func (a *answers) room(ctx context.Context, client string) error {
	for {
		a.mu.Lock()
		enough, used, freed := a.held <= a.limit, a.clients[client], a.freed
		over := used > 0 && (used > a.limit/4 || a.held > a.limit/4*3)
		a.mu.Unlock()
		switch {
		case over:
			return fmt.Errorf("%w: %d bytes are in use", ErrTooManyAnswers, used)
		case enough:
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *answers) begin(s *shelf) (number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.begun++
	a.encoded++
	return s.begun
}

// put lays a result on the shelf and gives it to the one who made it.
func (a *answers) put(s *shelf, number uint64, answer *revocation.EncodedAnswer, err error, client string) (*EncodedAnswer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		s.last, s.failure = number, err
		return nil, err
	}
	e := &shared{owner: a, answer: answer, holds: 1, by: map[string]int{}}
	a.held += answer.Size()
	s.last, s.result = number, e
	return e.hold(client), nil
}

// clear, hold and drop are called with mu held.
func (a *answers) clear(s *shelf) {
	if s.result != nil {
		a.drop(s.result)
	}
	s.last, s.result, s.failure = 0, nil, nil
}

func (e *shared) hold(client string) *EncodedAnswer {
	e.holds++
	if client != "" {
		if e.by[client]++; e.by[client] == 1 {
			e.owner.clients[client] += e.answer.Size()
		}
	}
	return &EncodedAnswer{EncodedAnswer: e.answer, of: e, client: client}
}

func (a *answers) drop(e *shared) {
	e.holds--
	if e.holds == 0 {
		a.held -= e.answer.Size()
		close(a.freed)
		a.freed = make(chan struct{})
	}
}

func (a *answers) release(e *shared, client string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if client != "" {
		if e.by[client]--; e.by[client] == 0 {
			if a.clients[client] -= e.answer.Size(); a.clients[client] == 0 {
				delete(a.clients, client)
			}
		}
	}
	a.drop(e)
}

// AnswerStats is what the catch-up answers cost.
type AnswerStats struct {
	// Encoded counts the encodings that were begun; Bytes is how much of them is in use.
	Encoded uint64
	Bytes   int64
}

// AnswerStats returns what the answers cost until now.
func (l *Ledger) AnswerStats() AnswerStats {
	l.answers.mu.Lock()
	defer l.answers.mu.Unlock()
	return AnswerStats{Encoded: l.answers.encoded, Bytes: l.answers.held}
}
