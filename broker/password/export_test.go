package password

import (
	"context"
	"time"
)

// Hold takes a slot of h as a running computation does, and returns a function that releases it.
func (h *Hasher) Hold() (release func()) {
	if h.slots.acquire(context.Background(), Caller{Priority: High}) != nil {
		panic("no slot is free")
	}
	return h.slots.release
}

// Waiting is how many callers wait for a slot.
func (h *Hasher) Waiting() int { return h.WaitingOf(Low) + h.WaitingOf(High) }

// WaitingOf is how many callers of a priority wait for a slot.
func (h *Hasher) WaitingOf(p Priority) int {
	h.slots.mu.Lock()
	defer h.slots.mu.Unlock()
	return h.slots.waiting[p].len
}

// Slow makes each hash take the given time without computing anything.
func (h *Hasher) Slow(each time.Duration) {
	h.key = func(_, _ []byte, _, _ uint32, _ uint8, length uint32) []byte {
		time.Sleep(each)
		return make([]byte, length)
	}
}

// Count adds one to n for each computation.
func (h *Hasher) Count(n *int) {
	key := h.key
	h.key = func(password, salt []byte, time, memory uint32, threads uint8, length uint32) []byte {
		*n++
		return key(password, salt, time, memory, threads, length)
	}
}

// HashAsGiven is Hash as earlier versions had it: of the password as it is.
func (h *Hasher) HashAsGiven(password string) string {
	out := phc{params: h.params, salt: make([]byte, saltLen)}
	out.key = h.derive(password, out.params, out.salt, keyLen)
	return out.encode()
}
