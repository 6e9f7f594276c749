package simtest_test

import (
	"slices"
	"time"

	"tokenbroker/revocation"
)

// reader is the part of a service that validates tokens, in the same steps as package validator. The owner
// of the tracker works between the steps.
type reader struct {
	cache     map[*token]uint64 // the version that was read before the look-up
	answers   map[*token]answer // of introspection
	asked     *token            // about which the broker was asked last
	keysAsked time.Duration
}

type answer struct {
	active bool
	at     time.Duration // when it was asked, by the monotonic clock
	mark   uint64
}

const (
	// slack is what P2 allows: 250 ms between a machine's clocks go unnoticed, clocks drift.
	slack = 300 * time.Millisecond
	// noticed is how long after waking a machine may believe in its clocks.
	noticed = 100 * time.Millisecond
	// ownBound is a route's own bound of staleness.
	ownBound = 2 * time.Second
	kept     = time.Second // an answer of introspection
	keysPace = 10 * time.Second
)

func (s *service) version() uint64 {
	if s.w.bug == bugBumpFirst {
		return s.bumps
	}
	return s.deny.Version()
}

// since returns the time as of which the service claims to know everything.
func (s *service) since() time.Duration {
	if s.w.bug == bugAsOfArrival {
		return max(s.asOf, s.lastBeat)
	}
	return s.asOf
}

func (s *service) fresh() bool {
	asOf := s.since()
	if s.w.bug == bugSilenceEnds && s.asOf > 0 && s.mono()-s.asOf > s.w.maxStale/2 {
		return true
	}
	return s.proved && s.mono()-asOf <= s.w.maxStale
}

// meets is freshness on a route with its own bound, which compares the clocks itself.
func (s *service) meets(bound time.Duration) bool {
	apart := s.wallMS() - s.mono().Milliseconds() - s.wallOffset
	return s.fresh() && s.mono()-s.asOf <= bound && -250 < apart && apart < 250
}

func (s *service) brokerMS() int64 { return s.atMS + (s.mono() - s.asOf).Milliseconds() }

// usable reports whether only a revocation could make the token invalid.
func (s *service) usable(t *token) bool {
	return s.brokerMS() < (t.exp+leeway)*1000 && slices.Contains(s.tokens.kids, t.KID)
}

func (s *service) judge(t *token) revocation.Verdict {
	v := s.deny.Judge(t.Subject, s.brokerMS())
	if s.w.bug == bugEvictionForgets && v == revocation.Unknown {
		return revocation.NotRevoked
	}
	return v
}

// read validates a few tokens and schedules the next time.
func (s *service) read() {
	if n := len(s.w.twin.tokens); n > 0 {
		for range 3 {
			s.validate(s.w.twin.tokens[n-1-s.w.rng.IntN(min(n, 40))])
		}
	}
	if s.asked != nil {
		s.validate(s.asked)
	}
	s.mine(s.w.between(50*time.Millisecond, 450*time.Millisecond), s.read)
}

func (s *service) validate(t *token) {
	if s.tokens.kids != nil && !slices.Contains(s.tokens.kids, t.KID) && s.w.now-s.keysAsked > keysPace {
		s.keysAsked = s.w.now
		s.perform(s.tracker.WantTokenKeys(s.instant()))
	}
	begun, version := s.w.now, s.version()
	bound, fresh := s.w.maxStale, s.fresh()
	if s.w.chance(0.3) {
		bound, fresh = ownBound, s.meets(ownBound)
	}
	if !fresh || !s.usable(t) {
		return
	}
	s.mine(s.w.between(0, 2*time.Millisecond), func() {
		if !s.usable(t) {
			return
		}
		switch s.judge(t) {
		case revocation.NotRevoked:
			if s.w.now-begun < 5*time.Millisecond { // what it read is not much older
				s.accepted(t, begun, bound, "by its denylist")
			}
			s.mine(s.w.between(0, 2*time.Millisecond), func() {
				if s.w.bug == bugStoreLater {
					version = s.version()
				}
				s.cache[t] = version
			})
		case revocation.Unknown:
			s.introspect(t, min(bound, kept), begun)
		}
	})
}

// introspect confirms tokens that the denylist cannot judge.
func (s *service) introspect(t *token, bound, begun time.Duration) {
	holds := func(mark uint64) bool { return s.w.bug == bugOldAnswer || s.deny.Holds(mark) }
	if a, ok := s.answers[t]; ok && s.mono()-a.at <= bound && holds(a.mark) {
		if a.active {
			s.accepted(t, begun, bound, "by an answer that it had")
		}
		return
	}
	s.asked = t
	a := answer{at: s.mono(), mark: s.deny.Inserted()}
	s.ask(func(b answerer) func() {
		a.active = b.active(t)
		return func() {
			s.answers[t] = a
			if a.active {
				s.accepted(t, begun, s.w.now-begun, "by introspection")
			}
		}
	}, func() {})
}

// accepted checks P2 and P5 for one request that started then. bound is how old the knowledge may be.
func (s *service) accepted(t *token, begun, bound time.Duration, how string) {
	i := slices.Index(s.w.twin.tokens, t)
	if r := t.refused[s.id]; r.life == s.life && r.at < begun {
		s.w.fail("P5: service %d refused token %d and accepts it %s", s.id, i, how)
	}
	awake := bound == ownBound || begun-s.wokeAt > noticed
	if t.acked && s.w.now-t.ackedAt > bound+slack && awake && !s.poisoned {
		s.w.fail("P2: service %d accepts token %d %s, revoked at %s", s.id, i, how, t.ackedAt)
	}
}

// rememberAll runs all readers at once, at the worst moment.
func (s *service) rememberAll() {
	for _, t := range s.w.twin.tokens {
		if s.usable(t) && s.judge(t) == revocation.NotRevoked {
			s.cache[t] = s.version()
		}
	}
}

// probe checks P2 and P5 for every token.
func (s *service) probe() {
	fresh, version := s.fresh(), s.version()
	promise, bound := "P2", s.w.maxStale
	if s.w.cluster != nil { // every event acknowledged before as_of is applied
		promise, bound = "5", min(bound, s.mono()-s.since())
	}
	for i, t := range s.w.twin.tokens {
		if !s.usable(t) {
			continue
		}
		v := s.judge(t)
		stored, ok := s.cache[t]
		switch {
		case v == revocation.Revoked && !t.revoked:
			s.w.fail("service %d refuses token %d, which nothing revoked", s.id, i)
		case v == revocation.Revoked && ok && stored == version:
			s.w.fail("P5: service %d has a verdict in store for token %d that its denylist refuses", s.id, i)
		case v == revocation.Revoked:
			if t.refused[s.id].life != s.life {
				t.refused[s.id] = refusal{life: s.life, at: s.w.now}
			}
		case v == revocation.Unknown && s.deny.Evictions() == 0:
			s.w.fail("service %d is unsure of token %d and has evicted nothing", s.id, i)
		case v == revocation.NotRevoked && t.refused[s.id].life == s.life:
			s.w.fail("P5: service %d refused token %d and accepts it now", s.id, i)
		case v == revocation.NotRevoked && fresh && t.acked && s.w.now-t.ackedAt > bound+slack && !s.poisoned &&
			s.w.now-s.wokeAt > noticed:
			s.w.fail("%s: service %d is fresh and accepts token %d, revoked at %s", promise, s.id, i, t.ackedAt)
		}
	}
}

// checkExact checks liveness: the service is fresh, has the keys, and decides correctly about each token.
func (s *service) checkExact() {
	keys, store := s.w.issuer()
	switch {
	case !s.fresh():
		s.w.fail("service %d is not fresh after the quiet", s.id)
	case s.tokens.etag != keys.tokenETag || s.tokens.store != store:
		s.w.fail("service %d has other keys than the broker after the quiet", s.id)
	case s.poisoned:
		s.w.fail("service %d relies on what came under a leaked key after the quiet", s.id)
	}
	s.probe()
	for i, t := range s.w.twin.tokens {
		if s.usable(t) && t.revoked && s.judge(t) == revocation.NotRevoked {
			s.w.fail("service %d does not know that token %d is revoked", s.id, i)
		}
	}
}
