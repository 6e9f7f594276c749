package simtest_test

import (
	"slices"
	"time"
)

// trouble is one fault, temporary or permanent.
type trouble struct {
	name string
	make func(w *world, s *service, d time.Duration)
}

// serviceTroubles are the faults of a service and its network.
var serviceTroubles = []trouble{
	{"the feed is cut", func(w *world, s *service, d time.Duration) {
		s.cutFeed = w.now + d
		if w.chance(0.7) { // and the service notices the reconnect
			s.mine(d, s.gap)
		}
	}},
	{"requests are lost", func(w *world, s *service, d time.Duration) { s.cutRequests = w.now + d }},
	{"answers are lost", func(w *world, s *service, d time.Duration) { s.cutReplies = w.now + d }},
	{"the service is cut off", func(w *world, s *service, d time.Duration) {
		s.cutFeed, s.cutRequests, s.cutReplies = w.now+d, w.now+d, w.now+d
	}},
	{"the feed drains late", func(w *world, s *service, d time.Duration) {
		if w.chance(0.2) {
			d = 60 * time.Second
		}
		s.held = w.now + d
	}},
	{"the network is slow", func(w *world, s *service, _ time.Duration) { s.delay = w.between(time.Millisecond, 10*time.Second) }},
	{"the network is quick", func(_ *world, s *service, _ time.Duration) { s.delay = calmDelay }},
	{"the network loses", func(w *world, s *service, _ time.Duration) { s.loss = w.rng.Float64() / 2 }},
	{"a slow consumer", func(w *world, s *service, d time.Duration) {
		s.loss = 0.8
		s.mine(d/4, func() { s.loss = 0; s.gap() })
	}},
	{"a needless gap", func(_ *world, s *service, _ time.Duration) { s.mine(0, s.gap) }},
	{"the service is stopped", func(_ *world, s *service, d time.Duration) { s.pause(d) }},
	{"the service's machine is suspended", func(_ *world, s *service, d time.Duration) { s.suspend(d) }},
	{"the service's clock is set", func(w *world, s *service, _ time.Duration) {
		s.step(w.pick(-time.Hour, time.Hour, -5*time.Second, 5*time.Second, -300*time.Millisecond, 200*time.Millisecond))
	}},
	{"the service restarts", func(_ *world, s *service, _ time.Duration) {
		if !s.paused() {
			s.start()
		}
	}},
}

var troubles = append(slices.Clone(serviceTroubles), []trouble{
	{"the broker's clock is set", func(w *world, _ *service, _ time.Duration) {
		w.broker.step(w.pick(-time.Hour, time.Hour, -5*time.Minute, 5*time.Minute, -time.Minute, time.Minute))
	}},
	{"the broker's clock is a year ahead for a while", func(w *world, _ *service, d time.Duration) {
		const year = 365 * 24 * time.Hour
		b := w.broker
		b.step(year)
		w.after(d, func() { b.do(func() { b.step(-year) }) })
	}},
	{"the broker is stopped", func(w *world, _ *service, d time.Duration) { w.broker.pause(d) }},
	{"the broker's machine is suspended", func(w *world, _ *service, d time.Duration) { w.broker.suspend(d) }},
	{"the broker is killed", func(w *world, _ *service, _ time.Duration) {
		if w.broker.ledger != nil && !w.broker.paused() {
			w.broker.crash()
		}
	}},
	{"the broker is cut off", func(w *world, _ *service, d time.Duration) { w.broker.cutFeed = w.now + d }},
	{"keys rotate", func(w *world, _ *service, d time.Duration) { w.broker.keys.rotate(d) }},
	{"a feed key is compromised", func(w *world, _ *service, _ time.Duration) {
		if b := w.broker; b.ledger != nil && !b.paused() && w.chance(0.5) {
			b.compromise(b.keys.compromiseFeedKey())
		}
	}},
	{"an attack", func(w *world, s *service, _ time.Duration) { w.attack(s) }},
}...)

// fault causes one fault, and schedules the next.
func (w *world) fault() {
	if w.calm {
		return
	}
	s := w.services[w.rng.IntN(len(w.services))]
	d := w.between(time.Second, 12*time.Second)
	f := troubles[w.rng.IntN(len(troubles))]
	w.say("%s (service %d, %s)", f.name, s.id, d)
	f.make(w, s, d)
	if w.chance(0.2) && w.old == nil {
		w.broker.save()
	}
	w.after(w.between(200*time.Millisecond, 3*time.Second), w.fault)
}

func (w *world) heal() {
	w.say("all is well again")
	w.calm = true
	if w.old != nil {
		w.old.end()
	}
	if w.broker != nil {
		w.broker.cutFeed = 0
	}
	for _, s := range w.services {
		s.network = network{delay: calmDelay}
	}
}
