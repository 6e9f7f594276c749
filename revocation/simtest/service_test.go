package simtest_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"maps"
	"slices"
	"time"

	"tokenbroker/revocation"
)

// service is the shell around the real tracker and denylist, as package validator has it.
type service struct {
	machine
	network
	reader
	id, life int
	tracker  *revocation.Tracker
	deny     *revocation.Denylist

	tokens   tokenSet // no kids: not loaded, or dropped
	feedKeys map[string]ed25519.PublicKey
	tainted  bool // a compromised one was taken out
	poisoned bool // what came under a leaked key may still be relied on

	// What is published to the readers.
	asOf       time.Duration
	atMS       int64
	proved     bool
	wallOffset int64
	lastBeat   time.Duration // for bugAsOfArrival
	bumps      uint64        // the version, for bugBumpFirst
	speaker    string        // for bugOneBase
}

func newService(w *world, id int) *service {
	return &service{machine: newMachine(w), network: network{delay: calmDelay}, id: id}
}

func (s *service) instant() revocation.Instant {
	now := revocation.Instant{Mono: s.mono(), WallMS: s.wallMS()}
	if s.w.bug == bugResetKeepsBases {
		now.WallMS = epoch + now.Mono.Milliseconds()
	}
	return now
}

func (s *service) start() {
	s.w.sync()
	s.life++
	s.tokens, s.feedKeys, s.tainted, s.poisoned = tokenSet{}, nil, false, false
	s.proved, s.asOf, s.atMS, s.lastBeat = false, 0, 0, 0
	s.reader = reader{cache: make(map[*token]uint64), answers: make(map[*token]answer), keysAsked: -time.Hour}
	s.deny = revocation.NewCappedDenylist(1 + s.w.rng.IntN(20)*s.w.rng.IntN(4))
	s.tracker = revocation.NewTracker(s.instant(), revocation.TrackerConfig{MaxStaleness: s.w.maxStale, Jitter: s.w.rng.Float64})
	s.tick(0)
	s.read()
}

// mine runs work of this run of the service if the process is not stopped.
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

// gap is what a feed reports after a reconnect or a slow consumer.
func (s *service) gap() { s.perform(s.tracker.Gap(s.instant())) }

func (s *service) receive(h revocation.Held) {
	m, err := s.w.mail.open(h.Raw, func(kid string) (ed25519.PublicKey, bool) {
		public, ok := s.feedKeys[kid]
		return public, ok
	})
	switch {
	case errors.Is(err, revocation.ErrUnknownKey):
		s.perform(s.tracker.Unknown(s.instant(), h))
	case err == nil:
		s.poisoned = s.poisoned || s.w.mail.leak(m.KID)
		s.message(h.Arrival, m)
	}
}

func (s *service) message(arrival time.Duration, m revocation.Message) {
	if m.Heartbeat != nil {
		s.lastBeat = arrival
		h := s.misread(*m.Heartbeat)
		m.Heartbeat = &h
		if s.w.bug == bugIgnoreHole { // as if all below the head had come
			for seq := uint64(1); seq <= min(m.Heartbeat.Head, 1000); seq++ {
				s.perform(s.tracker.Message(s.instant(), arrival, revocation.Message{Batch: &revocation.Batch{
					V: 1, Store: m.Store(), Origin: m.Origin(), Seq: seq,
				}}))
			}
		}
	}
	s.perform(s.tracker.Message(s.instant(), arrival, m))
}

// perform carries out effects in their documented order.
func (s *service) perform(e revocation.Effects) {
	for _, line := range e.Notes {
		s.w.say("service %d: %s", s.id, line)
	}
	if e.DropStore {
		s.tokens, s.feedKeys, s.tainted, s.poisoned = tokenSet{}, nil, false, false
		s.deny.DropStore()
		s.bumps++
	}
	if len(e.Kids)+len(e.Apply) > 0 {
		s.apply(e)
	}
	s.publish()
	if len(e.Apply) > 0 || e.DropStore {
		s.probe()
	}
	if e.CatchUp != nil {
		s.catchUp(*e.CatchUp)
	}
	if e.FetchTokenKeys {
		s.fetchTokenKeys()
	}
	if e.FetchFeedKeys {
		s.fetchFeedKeys()
	}
	for _, h := range e.Retry {
		s.receive(h)
	}
}

func (s *service) apply(e revocation.Effects) {
	s.w.sync()
	switch s.w.bug {
	case bugFreshFirst:
		s.publish()
		s.probe()
	case bugBumpFirst:
		s.bumps++
		s.rememberAll()
	}
	s.deny.SetKids(e.Kids)
	s.deny.Apply(e.Apply...)
	before := len(s.feedKeys)
	maps.DeleteFunc(s.feedKeys, func(kid string, _ ed25519.PublicKey) bool { return s.deny.KidRevoked(kid) })
	s.tainted = s.tainted || len(s.feedKeys) != before
	if slices.ContainsFunc(s.tokens.kids, s.deny.KidRevoked) {
		s.tokens.kids = slices.DeleteFunc(slices.Clone(s.tokens.kids), s.deny.KidRevoked)
		s.bump()
	}
}

func (s *service) bump() {
	s.deny.BumpVersion()
	s.bumps++
}

func (s *service) publish() {
	state := s.tracker.State(s.instant())
	s.proved, s.wallOffset = state.Proved, state.WallOffsetMS
	if state.AtMS != 0 {
		s.asOf, s.atMS = state.AsOf, state.AtMS
	}
}

func (s *service) catchUp(c revocation.CatchUp) {
	clean := c.After == "" // asked for everything, and only trusted keys count from here on
	for kid := range s.feedKeys {
		clean = clean && !s.w.mail.leak(kid)
	}
	s.ask(func(b answerer) func() {
		text, form, err := b.encoded(c.After)
		return func() {
			var a *revocation.Answer
			if err == nil {
				a, err = s.readAnswer(text, form)
			}
			if clean && err == nil {
				s.poisoned = false
			}
			if err == nil {
				s.misattribute(a)
			}
			s.perform(s.tracker.CatchUpDone(s.instant(), c.ID, a, err))
		}
	}, func() { s.perform(s.tracker.CatchUpDone(s.instant(), c.ID, nil, errNetwork)) })
}

// readAnswer reads an answer as package validator does, also one whose request was abandoned.
func (s *service) readAnswer(text []byte, form revocation.Form) (*revocation.Answer, error) {
	if form == revocation.FormJSON {
		return revocation.DecodeAnswer(bytes.NewReader(text))
	}
	return s.deny.ReadAnswer(bytes.NewReader(text))
}

func (s *service) fetchTokenKeys() {
	s.ask(func(b answerer) func() {
		set := b.tokenSet()
		return func() {
			if s.tracker.Accepts(set.store) {
				set.kids = slices.DeleteFunc(set.kids, s.deny.KidRevoked)
				s.tokens = set
				s.bump()
			}
			s.perform(s.tracker.TokenKeysFetched(s.instant(), revocation.Fetched{Store: set.store, ETag: set.etag}))
		}
	}, func() { s.perform(s.tracker.TokenKeysFetched(s.instant(), revocation.Fetched{Err: errNetwork})) })
}

func (s *service) fetchFeedKeys() {
	s.ask(func(b answerer) func() {
		set := b.feedSet()
		return func() {
			f := revocation.Fetched{Store: set.store}
			if s.tracker.Accepts(set.store) {
				maps.DeleteFunc(set.keys, func(kid string, _ ed25519.PublicKey) bool { return s.deny.KidRevoked(kid) })
				f.Removed = s.tainted
				for kid := range s.feedKeys {
					f.Removed = f.Removed || set.keys[kid] == nil
				}
				f.Changed = f.Removed || len(set.keys) != len(s.feedKeys)
				s.feedKeys, s.tainted = set.keys, false
			}
			s.perform(s.tracker.FeedKeysFetched(s.instant(), f))
		}
	}, func() { s.perform(s.tracker.FeedKeysFetched(s.instant(), revocation.Fetched{Err: errNetwork})) })
}
