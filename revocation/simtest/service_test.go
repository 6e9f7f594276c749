package simtest_test

import (
	"errors"
	"time"

	"tokenbroker/revocation"
)

// service is the shell around the real tracker and denylist, as package validator has it.
type service struct {
	machine
	id, life int
	tracker  *revocation.Tracker
	deny     *revocation.Denylist
	keys     string // the store whose keys it has
	asOf     time.Duration
	atMS     int64
	proved   bool
	lastBeat time.Duration
	cutFeed  time.Duration // until then
	cutHTTP  time.Duration
	held     time.Duration
	delay    time.Duration
	loss     float64
}

var errNetwork = errors.New("no answer")

func newService(w *world, id int) *service {
	return &service{machine: newMachine(w), id: id, delay: 20 * time.Millisecond}
}

func (s *service) instant() revocation.Instant {
	return revocation.Instant{Mono: s.mono(), WallMS: s.wallMS()}
}

func (s *service) start() {
	s.w.sync()
	s.life++
	s.keys, s.proved, s.asOf, s.atMS, s.lastBeat = "", false, 0, 0, 0
	s.deny = revocation.NewCappedDenylist(3 + s.w.rng.IntN(40))
	s.tracker = revocation.NewTracker(s.instant(), revocation.TrackerConfig{MaxStaleness: s.w.maxStale, Jitter: s.w.rng.Float64})
	s.tick(0)
}

// mine runs work of this life when the process is not stopped.
func (s *service) mine(d time.Duration, run func()) {
	life := s.life
	s.w.after(d, func() {
		s.do(func() {
			if s.life == life {
				run()
			}
		})
	})
}

func (s *service) tick(n int) {
	s.perform(s.tracker.Tick(s.instant()))
	if n%5 == 0 {
		s.probe()
	}
	if state := s.tracker.State(s.instant()); n%10 == 9 && state.Fresh(s.mono(), s.w.maxStale) {
		s.w.sync()
		s.deny.Collect(state.TimeFloor)
	}
	s.mine(100*time.Millisecond, func() { s.tick(n + 1) })
}

// feed is the network on the way to the service.
func (s *service) feed(m revocation.Message) {
	if s.w.now < s.cutFeed || s.w.chance(s.loss) {
		return
	}
	for range 1 + s.w.rng.IntN(10)/9 {
		d := max(s.held-s.w.now, 0) + s.w.between(0, s.delay)
		s.mine(d, func() {
			arrival := s.mono()
			s.mine(0, func() { s.message(arrival, m) })
		})
	}
}

func (s *service) message(arrival time.Duration, m revocation.Message) {
	if m.Heartbeat != nil {
		s.lastBeat = arrival
		if s.w.bug == bugIgnoreHole { // as if all below the head had come
			for seq := uint64(1); seq <= m.Heartbeat.Head; seq++ {
				s.perform(s.tracker.Message(s.instant(), arrival, revocation.Message{Batch: &revocation.Batch{
					V: 1, Store: m.Store(), Origin: m.Origin(), Seq: seq,
				}}))
			}
		}
	}
	s.perform(s.tracker.Message(s.instant(), arrival, m))
}

func (s *service) perform(e revocation.Effects) {
	for _, line := range e.Notes {
		s.w.say("service %d: %s", s.id, line)
	}
	if e.DropStore || len(e.Apply) > 0 {
		s.w.sync()
	}
	if e.DropStore {
		s.keys = ""
		s.deny.DropStore()
	}
	if s.w.bug == bugFreshFirst {
		s.publish()
		s.probe()
	}
	s.deny.SetKids(e.Kids)
	s.deny.Apply(e.Apply...)
	s.publish()
	if len(e.Apply) > 0 || e.DropStore {
		s.probe()
	}
	if e.CatchUp != nil {
		s.catchUp(*e.CatchUp)
	}
	if e.FetchTokenKeys {
		s.fetch(func(f revocation.Fetched) {
			if f.Err == nil && s.tracker.Accepts(f.Store) {
				s.keys = f.Store
			}
			s.perform(s.tracker.TokenKeysFetched(s.instant(), f))
		})
	}
	if e.FetchFeedKeys {
		s.fetch(func(f revocation.Fetched) { s.perform(s.tracker.FeedKeysFetched(s.instant(), f)) })
	}
}

func (s *service) publish() {
	state := s.tracker.State(s.instant())
	s.proved = state.Proved
	if state.AtMS != 0 {
		s.asOf, s.atMS = state.AsOf, state.AtMS
	}
}

func (s *service) lost() bool { return s.w.now < s.cutHTTP || s.w.chance(s.loss) }

// ask carries a request to the broker and its result back.
func (s *service) ask(serve func() (back func(error)), fail func()) {
	if s.lost() {
		s.mine(4*time.Second, fail)
		return
	}
	s.w.after(s.w.between(0, min(s.delay, 1500*time.Millisecond)), func() {
		s.w.broker.do(func() {
			if s.w.broker.ledger == nil || s.lost() {
				s.mine(time.Second, fail)
				return
			}
			back := serve()
			s.mine(s.w.between(0, min(s.delay, 1500*time.Millisecond)), func() { back(nil) })
		})
	})
}

func (s *service) catchUp(c revocation.CatchUp) {
	s.ask(func() func(error) {
		a, err := s.w.broker.answer(c.After)
		return func(error) { s.perform(s.tracker.CatchUpDone(s.instant(), c.ID, a, err)) }
	}, func() { s.perform(s.tracker.CatchUpDone(s.instant(), c.ID, nil, errNetwork)) })
}

func (s *service) fetch(done func(revocation.Fetched)) {
	s.ask(func() func(error) {
		id := s.w.broker.ledger.StoreID()
		return func(error) { done(revocation.Fetched{Store: id, ETag: "e"}) }
	}, func() { done(revocation.Fetched{Err: errNetwork}) })
}

func (s *service) fresh() bool {
	asOf := s.asOf
	if s.w.bug == bugAsOfArrival {
		asOf = max(asOf, s.lastBeat)
	}
	if s.w.bug == bugSilenceEnds && s.asOf > 0 && s.mono()-s.asOf > s.w.maxStale/2 {
		return true
	}
	return s.proved && s.mono()-asOf <= s.w.maxStale
}

func (s *service) judge(t *token) (v revocation.Verdict, dead bool) {
	now := s.atMS + (s.mono() - s.asOf).Milliseconds()
	v = s.deny.Judge(t.Subject, now)
	if s.w.bug == bugEvictionForgets && v == revocation.Unknown {
		v = revocation.NotRevoked
	}
	return v, now/1000 >= t.exp+leeway || s.keys != t.store
}

// probe is P2 and P5.
func (s *service) probe() {
	fresh := s.fresh()
	for i, t := range s.w.twin.tokens {
		v, dead := s.judge(t)
		switch {
		case dead:
		case v == revocation.Revoked && !t.revoked:
			s.w.fail("service %d refuses token %d, which nothing revoked", s.id, i)
		case v == revocation.Revoked:
			t.refused[s.id] = s.life
		case v == revocation.NotRevoked && t.refused[s.id] == s.life:
			s.w.fail("P5: service %d refused token %d and accepts it now", s.id, i)
		case v == revocation.NotRevoked && fresh && t.acked && s.w.now-t.ackedAt > s.w.maxStale+300*time.Millisecond:
			s.w.fail("P2: service %d is fresh and accepts token %d, revoked at %s", s.id, i, t.ackedAt)
		}
	}
}

// checkExact is liveness: fresh, with the keys, and right about each token.
func (s *service) checkExact() {
	if !s.fresh() || s.keys != s.w.broker.ledger.StoreID() {
		s.w.fail("service %d is not current after the quiet", s.id)
	}
	s.probe()
	for i, t := range s.w.twin.tokens {
		if v, dead := s.judge(t); !dead && t.revoked && v == revocation.NotRevoked {
			s.w.fail("service %d does not know that token %d is revoked", s.id, i)
		}
	}
}
