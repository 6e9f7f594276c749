package password

import (
	"context"
	"time"
)

// Hold takes a slot of h as a running computation does, and returns what gives it back.
func (h *Hasher) Hold() (release func()) {
	if h.line.acquire(context.Background(), Caller{Priority: High}) != nil {
		panic("no slot is free")
	}
	return h.line.release
}

// Waiting is how many callers wait for a slot.
func (h *Hasher) Waiting() int { return h.WaitingOf(Low) + h.WaitingOf(High) }

// WaitingOf is how many callers of a priority wait for a slot.
func (h *Hasher) WaitingOf(p Priority) int {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	return h.line.waiting[p].len
}

// Slow makes each hash take so long, and nothing else.
func (h *Hasher) Slow(each time.Duration) {
	h.key = func(_, _ []byte, _, _ uint32, _ uint8, length uint32) []byte {
		time.Sleep(each)
		return make([]byte, length)
	}
}
