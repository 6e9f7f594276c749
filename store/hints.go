package store

import (
	"context"
	"iter"
	"strings"
	"sync"
)

// Hints are the channels of [Engine.Follow], for implementations of it. The zero value is ready to use, and is safe for
// concurrent use.
type Hints struct {
	mu        sync.Mutex
	followers []follower // guarded by mu
}

type follower struct {
	ctx    context.Context //nolint:containedctx // the follower's lifetime
	prefix string
	hint   chan struct{}
}

// Follow implements [Engine.Follow].
func (h *Hints) Follow(ctx context.Context, prefix string) <-chan struct{} {
	f := follower{ctx: ctx, prefix: prefix, hint: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.followers = append(h.followers, f)
	return f.hint
}

// Changed calls deliver for each follower of a prefix of one of keys; deliver calls send to send the hint. If
// deliver is nil, the hint is sent.
func (h *Hints) Changed(keys iter.Seq[string], deliver func(prefix string, send func())) {
	for _, f := range h.following() {
		for key := range keys {
			if !strings.HasPrefix(key, f.prefix) {
				continue
			}
			if deliver == nil {
				f.send()
			} else {
				deliver(f.prefix, f.send)
			}
			break
		}
	}
}

// Send sends the hint to each follower of a prefix for which match returns true.
func (h *Hints) Send(match func(prefix string) bool) {
	for _, f := range h.following() {
		if match(f.prefix) {
			f.send()
		}
	}
}

// following returns the followers whose context has not ended, and forgets the others.
func (h *Hints) following() []follower {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.followers) == 0 {
		return nil
	}
	following := make([]follower, 0, len(h.followers))
	for _, f := range h.followers {
		if f.ctx.Err() == nil {
			following = append(following, f)
		}
	}
	h.followers = following
	return following
}

func (f follower) send() {
	select {
	case f.hint <- struct{}{}:
	default: // the follower has not taken the last one
	}
}
