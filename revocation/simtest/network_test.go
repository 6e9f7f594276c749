package simtest_test

import (
	"errors"
	"time"

	"tokenbroker/revocation"
)

// network connects one service and the brokers. The cuts and the hold last until the given time,
// separately for each direction.
type network struct {
	cutFeed, cutRequests, cutReplies time.Duration
	held                             time.Duration // a queue that drains then
	delay                            time.Duration
	loss                             float64
}

const calmDelay = 20 * time.Millisecond

// silence is how long a request waits for an answer.
const silence = 4 * time.Second

var errNetwork = errors.New("no answer")

// carry delivers a message to the service: late, twice, out of order or not at all.
func (s *service) carry(raw []byte) {
	if s.w.now < s.cutFeed || s.loss > 0 && s.w.chance(s.loss) {
		return
	}
	for range 1 + s.w.rng.IntN(10)/9 {
		d := max(s.held-s.w.now, 0) + s.w.between(0, s.delay)
		s.mine(d, func() {
			arrival := s.mono()
			s.mine(0, func() { s.receive(revocation.Held{Raw: raw, Arrival: arrival}) })
		})
	}
}

// ask sends a request to a broker and delivers its result. serve runs at the broker and returns the
// function to run at the service. Without an answer fail runs instead.
func (s *service) ask(serve func(*broker) func(), fail func()) {
	w, life := s.w, s.life
	later := func(d time.Duration, run func()) { // in the life that asked
		if s.life == life {
			s.mine(d, run)
		}
	}
	sent, out, back := w.now, w.between(0, s.delay), w.between(0, s.delay)
	if w.now < s.cutRequests || s.loss > 0 && w.chance(s.loss) {
		later(silence, fail)
		return
	}
	w.after(out, func() {
		b := w.broker
		if w.old != nil && w.chance(0.5) {
			b = w.old
		}
		if b.pausedUntil > sent+silence {
			later(max(sent+silence-w.now, 0), fail)
			return
		}
		b.do(func() {
			switch {
			case b.ledger == nil:
				later(min(back, silence), fail)
				return
			case w.now < s.cutReplies:
				later(max(sent+silence-w.now, 0), fail)
				return
			}
			then := serve(b)
			if took := w.now + back - sent; took > silence {
				later(max(sent+silence-w.now, 0), fail)
				return
			}
			later(back, then)
		})
	})
}
