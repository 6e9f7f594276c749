package password

// Hold takes a slot of h as a running computation does, and returns what gives it back.
func (h *Hasher) Hold() (release func()) {
	h.slots <- struct{}{}
	return func() { <-h.slots }
}

// Waiting is how many callers wait for a slot.
func (h *Hasher) Waiting() int64 { return h.waiting.Load() }
