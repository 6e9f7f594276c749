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

// server is a broker as services reach it.
type server interface {
	// stopped returns the time until which the process is stopped.
	stopped() time.Duration
	// handle handles a request in the process now, or when that continues. The request gets nil if no process runs.
	handle(request func(answerer))
}

// answerer answers one request.
type answerer interface {
	encoded(after string) (text []byte, form revocation.Form, err error)
	tokenSet() tokenSet
	feedSet() feedSet
	// active introspects a token.
	active(t *token) bool
}

var (
	_, _ server   = (*broker)(nil), (*node)(nil)
	_, _ answerer = (*broker)(nil), (*task)(nil)
)

// balance returns the broker that a request reaches.
func (w *world) balance() server {
	switch {
	case w.cluster != nil:
		return w.cluster.any()
	case w.old != nil && w.chance(0.5):
		return w.old
	}
	return w.broker
}

// ask sends a request to a broker and delivers its result. serve runs at the broker and returns the
// function to run at the service. Without an answer fail runs instead.
func (s *service) ask(serve func(answerer) func(), fail func()) {
	w, life := s.w, s.life
	over := false
	later := func(d time.Duration, run func()) { // once, in the life that asked
		if s.life == life {
			s.mine(d, func() {
				if !over {
					over = true
					run()
				}
			})
		}
	}
	sent, out, back := w.now, w.between(0, s.delay), w.between(0, s.delay)
	lost := func() { later(max(sent+silence-w.now, 0), fail) }
	if w.now < s.cutRequests || s.loss > 0 && w.chance(s.loss) {
		lost()
		return
	}
	w.after(out, func() {
		b := w.balance()
		if b.stopped() > sent+silence {
			lost()
			return
		}
		lost() // if the process is killed
		b.handle(func(a answerer) {
			switch {
			case a == nil:
				later(min(back, silence), fail)
				return
			case w.now < s.cutReplies:
				return
			}
			then := serve(a)
			if w.now+back-sent <= silence {
				later(back, then)
			}
		})
	})
}
