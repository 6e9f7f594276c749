package ledger

import (
	"context"
	"errors"
	"maps"
	"sync"

	"tokenbroker/revocation"
)

// answersInUse is how many bytes of encoded answers may be in use before another is encoded. A client that
// already uses some gets another only while all clients use less than three quarters of it and the client
// itself uses less than a quarter: the rest is reserved for clients that use none.
const answersInUse = 256 << 20

// ErrTooManyAnswers is returned if a client uses all of its share of the memory for answers.
var ErrTooManyAnswers = errors.New("the client reads too many answers")

// EncodedAnswer is a catch-up answer that may be shared. Close releases it.
type EncodedAnswer struct {
	*revocation.EncodedAnswer
	of     *shared
	client string
	once   sync.Once
}

// Close releases the answer, which must not be used afterwards. It may be called again.
func (a *EncodedAnswer) Close() error {
	a.once.Do(func() { a.of.owner.release(a.of, a.client) })
	return nil
}

// shared is one encoded answer and how many hold it.
type shared struct {
	owner  *answers
	answer *revocation.EncodedAnswer
	holds  int
	by     map[string]int // number of references by client
}

// waitForMemory waits until no more than the limit is in use. It does not wait if all callers already use more
// than their share, because others wait behind them.
func (a *answers) waitForMemory(ctx context.Context, s *slot, f *encoding) error {
	for {
		a.mu.Lock()
		a.dropOthersKept(s)
		enough, freed, over := a.held <= a.limit, a.freed, f.waiting > 0
		for client := range f.callers {
			over = over && a.overShare(client)
		}
		a.mu.Unlock()
		switch {
		case over:
			return ErrTooManyAnswers
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

// overShare reports whether a client uses its whole share.
func (a *answers) overShare(client string) bool {
	used := a.clients[client]
	return used > 0 && (used > a.limit/4 || a.held > a.limit/4*3)
}

// dropOthersKept drops what other slots keep, once the clients' shares are limited by it.
func (a *answers) dropOthersKept(own *slot) {
	if a.held <= a.limit/4*3 {
		return
	}
	for key, s := range maps.All(a.slots) {
		if s != own {
			a.dropKept(s)
			a.removeIfEmpty(key, s)
		}
	}
}

func (a *answers) dropKept(s *slot) {
	if s.kept == nil {
		return
	}
	s.timer.Stop()
	a.drop(s.kept)
	s.kept, s.draft = nil, nil
}

// removeIfEmpty removes a slot without an encoding or an answer.
func (a *answers) removeIfEmpty(key answerKey, s *slot) {
	if s.flights == 0 && s.kept == nil && a.slots[key] == s {
		delete(a.slots, key)
	}
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

// AnswerStats are statistics of the catch-up answers.
type AnswerStats struct {
	// Encoded counts the encodings that were started; Bytes is how much of them is in use.
	Encoded uint64
	Bytes   int64
}

// AnswerStats returns the statistics until now.
func (l *Ledger) AnswerStats() AnswerStats {
	l.answers.mu.Lock()
	defer l.answers.mu.Unlock()
	return AnswerStats{Encoded: l.answers.encoded, Bytes: l.answers.held}
}
