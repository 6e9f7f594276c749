package validator

import (
	"context"
	"errors"
	"time"

	"tokenbroker/revocation"
)

// ErrClosed is the cause with which [Validator.Close] ends the contexts of
// [Validator.Bind]: nothing would end them any more when their tokens are revoked.
var ErrClosed = errors.New("validator closed")

// Bind gives a context for something that outlives its request's check: a WebSocket, a
// stream of events, a gRPC stream. It ends with ctx, and by itself with one of these as its
// [context.Cause]:
//
//   - [ErrRevoked] when a revocation that hits the token is heard;
//   - [ErrExpired] at the token's exp by the broker's clock, or up to a second later
//     where that clock was put forward;
//   - [ErrClosed] when the Validator is closed.
//
// Where that is so already, the context has ended when Bind returns; a revocation that
// comes while Bind runs is not missed. Bind what [Validator.Validate] has just returned:
// an old revocation that made room for others (Stats.Evictions) is not known to Bind.
//
// Whoever binds calls cancel when the stream is over: that ends the context and frees what
// belongs to it. Forgotten, it is freed at the token's end.
//
// A service that becomes stale ends nothing, whatever Config.OnStale says: the streams go
// on, new requests do not, and revocations that were missed end theirs as soon as they
// are heard. Without news no stream outlives its token. A key that leaves the published
// set ends nothing either, unless it was compromised.
//
// A bound stream takes less than 300 bytes, the context and its channel included, no
// goroutine and no timer. A ctx that can be cancelled, as net/http's, adds its own list of
// children: 370 bytes where this is the first. The claims are kept meanwhile. A revocation
// finds its own however many there are; only one of all tokens visits each.
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
	// Registered first, judged then: what is applied in between is found by one of the two.
	switch {
	case v.backend.read(0).nowMS >= claims.ExpiresAt.UnixMilli():
		t.end(ErrExpired)
	case v.backend.denylist().Revoked(claims.revocable()):
		t.end(ErrRevoked)
	}
	return bound, t.release
}

// ticket names one binding, also after its place was given to another.
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

// revoke ends what the events hit. The denylist calls it; see [revocation.Denylist.Watch].
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

// endAll ends what a list has under value and dead says. It is called with mu held.
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

// sweep visits all. It is called with mu held.
func (b *bindings) sweep(cause error, dead func(*Claims) bool) {
	for p := place(1); p <= b.used && b.live > 0; p++ {
		if n := b.at(p); n.claims != nil && dead(n.claims) {
			b.end(p, cause)
		}
	}
}

// clockCheckEvery bounds how long the clock is trusted to go on as it does: the broker's may be
// put forward.
const clockCheckEvery = time.Second

// schedule sees to it that the one timer fires when exp (Unix s) comes. It is called with mu
// held. A timer that fires too early costs one look.
func (b *bindings) schedule(exp int64) {
	now := b.nowMS()
	wait := min(max(exp*1000-now, 0), clockCheckEvery.Milliseconds())
	if b.timer != nil && b.wakeMS <= now+wait {
		return
	}
	if b.timer != nil {
		if !b.timer.Stop() {
			return // it fires now, and looks
		}
		b.running.Done()
	}
	b.running.Add(1)
	b.wakeMS = now + wait
	b.timer = time.AfterFunc(time.Duration(wait)*time.Millisecond, b.expireDue)
}

// expireDue ends what has expired and sets the timer anew while anything is left.
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
