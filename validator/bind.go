package validator

import (
	"context"
	"errors"
	"time"

	"tokenbroker/revocation"
)

// ErrClosed is the cause with which [Validator.Close] ends the contexts of
// [Validator.Bind]: after it, a revocation would no longer end them.
var ErrClosed = errors.New("validator closed")

// Bind returns a context for a WebSocket, a stream of events or a gRPC stream, which continues after the
// check of its request. The context ends with ctx, or for one of these reasons, which is then its
// [context.Cause]:
//
//   - [ErrRevoked] when a revocation that hits the token arrives;
//   - [ErrExpired] at the token's exp by the broker's clock, or up to a second later
//     if that clock was put forward;
//   - [ErrClosed] when the Validator is closed.
//
// If one of these has already happened, the context has ended when Bind returns; a revocation
// that arrives while Bind runs is not missed. Bind only claims that [Validator.Validate] has
// just returned: Bind does not know of a revocation that was evicted (Stats.Evictions).
//
// The caller calls cancel when the stream ends, which ends the context and frees its memory. Without that
// call, the memory is freed when the token expires.
//
// When the service becomes stale, no stream ends, regardless of Config.OnStale; only new
// requests are affected. Revocations that were missed end their streams when they arrive, and
// every stream ends at the latest when its token expires. A key that leaves the published set
// ends no stream, unless it was compromised.
//
// A bound stream takes less than 300 bytes, the context and its channel included, no
// goroutine and no timer. A ctx that can be cancelled, such as that of net/http, adds its own
// list of children: 370 bytes for the first child. The claims are kept until the context
// ends. The cost of a revocation does not depend on the number of streams, except for one of
// all tokens, which visits each stream.
func (v *Validator) Bind(ctx context.Context, claims *Claims) (bound context.Context, cancel context.CancelFunc) {
	bound, end := context.WithCancelCause(ctx)
	if ctx.Err() != nil {
		return bound, func() { end(nil) }
	}
	t, ok := v.bindings.add(claims, end)
	if !ok {
		end(ErrClosed)
		return bound, func() {}
	}
	// Register first, then judge: an event that is applied in between is found by one of the two.
	switch {
	case v.backend.read(0).nowMS >= claims.ExpiresAt.UnixMilli():
		t.end(ErrExpired)
	case v.backend.denylist().Revoked(claims.revocable()):
		t.end(ErrRevoked)
	}
	return bound, t.release
}

// ticket identifies one binding, even after its place was reused for another.
type ticket struct {
	of     *bindings
	place  place
	serial uint32
}

func (t ticket) release() { t.end(nil) }

func (t ticket) end(cause error) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if *t.of.serialAt(t.place) == t.serial {
		t.of.end(t.place, cause)
	}
}

// revoke ends the contexts of the tokens that the events hit. The denylist calls it; see
// [revocation.Denylist.Watch].
func (b *bindings) revoke(events []revocation.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		if b.live == 0 {
			return
		}
		switch e.Kind {
		case revocation.KindJTI:
			b.endAll(byJTI, e.Value, func(*Claims) bool { return true })
		case revocation.KindSID:
			b.endAll(bySID, e.Value, func(*Claims) bool { return true })
		case revocation.KindKID:
			b.endAll(byKID, e.Value, func(*Claims) bool { return true })
		case revocation.KindSub:
			b.endAll(bySub, e.Value, func(c *Claims) bool { return c.SEP < e.Epoch })
		case revocation.KindClient:
			b.endAll(byClient, e.Value, func(c *Claims) bool { return c.CEP < e.Epoch })
		case revocation.KindAll:
			b.sweep(ErrRevoked, func(c *Claims) bool { return c.SEP < e.Epoch })
		}
	}
}

// endAll ends the contexts of a list under value for which dead returns true. It is called with mu held.
func (b *bindings) endAll(l list, value string, dead func(*Claims) bool) {
	for p := b.head(l, value); p != 0; {
		n := b.at(p)
		next := n.links[l].next
		if keyOf(l, n.claims) == value && dead(n.claims) {
			b.end(p, ErrRevoked)
		}
		p = next
	}
}

// sweep visits all bindings. It is called with mu held.
func (b *bindings) sweep(cause error, dead func(*Claims) bool) {
	for p := place(1); p <= b.used && b.live > 0; p++ {
		if n := b.at(p); n.claims != nil && dead(n.claims) {
			b.end(p, cause)
		}
	}
}

// clockCheckEvery is how often the broker's clock is read while a timer runs, because it may be set
// forward.
const clockCheckEvery = time.Second

// schedule sets the only timer so that it fires at exp (Unix s) at the latest. It is called with mu held.
// A timer that fires too early only checks for expired tokens.
func (b *bindings) schedule(exp int64) {
	now := b.nowMS()
	wait := min(max(exp*1000-now, 0), clockCheckEvery.Milliseconds())
	if b.timer != nil && b.wakeMS <= now+wait {
		return
	}
	if b.timer != nil {
		if !b.timer.Stop() {
			return // it fires now and schedules the next time
		}
		b.running.Done()
	}
	b.running.Add(1)
	b.wakeMS = now + wait
	b.timer = time.AfterFunc(time.Duration(wait)*time.Millisecond, b.expireDue)
}

// expireDue ends the contexts of expired tokens and sets the timer again while any is left.
func (b *bindings) expireDue() {
	defer b.running.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.timer = nil
	now, next := b.nowMS(), int64(0)
	for exp := range b.seconds {
		if exp*1000 <= now {
			for p := b.seconds[exp]; p != 0; p = b.seconds[exp] {
				b.end(p, ErrExpired)
			}
		} else if next == 0 || exp < next {
			next = exp
		}
	}
	if b.live > 0 {
		b.schedule(next)
	}
}
