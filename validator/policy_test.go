package validator

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenbroker/revocation"
)

// newAsking is newFake with a denylist of that size, a policy, and a broker to ask.
func newAsking(tb testing.TB, policy Policy, size int) (*Validator, *fakeSource, *oracle, func(iat, exp int64) string) {
	tb.Helper()
	v, s, mint := newFake(tb)
	s.revoked = revocation.NewCappedDenylist(size)
	v.backend = newViewBackend(s, 30*time.Second)
	o := &oracle{status: 200, body: yes}
	v.onStale, v.maxStaleness, v.introspector = policy, 30*time.Second, newOracleIntrospector(o, s.revoked)
	tb.Cleanup(v.introspector.close)
	return v, s, o, mint
}

func (f *fakeSource) revoke(kind revocation.Kind, value string) {
	f.revoked.Apply(revocation.Event{Kind: kind, Value: value, Epoch: 2, At: brokerNow, ExpiresAt: brokerNow + 600})
}

func TestEachPolicyWhenStale(t *testing.T) {
	fails := errors.New("down")
	for name, row := range map[string]struct {
		policy                        Policy
		active                        string
		down                          bool
		good, expired, revoked, bound error
		requests                      int
	}{
		"fail closed":             {FailClosed, yes, false, ErrStale, ErrStale, ErrStale, ErrStale, 0},
		"introspect, active":      {Introspect, yes, false, nil, ErrExpired, ErrRevoked, nil, 2},
		"introspect, not active":  {Introspect, no, false, ErrRevoked, ErrExpired, ErrRevoked, ErrRevoked, 2},
		"introspect, broker down": {Introspect, yes, true, ErrStale, ErrExpired, ErrRevoked, ErrStale, 5},
		"serve stale":             {InsecureServeStale, no, false, nil, ErrExpired, ErrRevoked, ErrStale, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v, s, o, mint := newAsking(t, row.policy, 100)
			seen, unseen := mint(brokerNow, brokerNow+300), mint(brokerNow, brokerNow+300)
			revokedSeen, expired := mint(brokerNow, brokerNow+300), mint(brokerNow-300, brokerNow-1)
			for _, token := range []string{seen, revokedSeen} {
				if _, err := v.Validate(t.Context(), token); err != nil {
					t.Fatal(err)
				}
			}
			s.revoke(revocation.KindJTI, "3")
			s.now = aged(31*time.Second, brokerNow*1000-31_000)
			o.set(func(o *oracle) { o.body = row.active })
			if row.down {
				o.set(func(o *oracle) { o.fails = fails })
			}
			check := func(shown, token string, want error, options ...Option) {
				t.Helper()
				if _, err := v.Validate(t.Context(), token, options...); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", shown, err, want)
				}
			}
			for range 2 {
				check("seen", seen, row.good)
				check("unseen", unseen, row.good)
			}
			check("expired", expired, row.expired)
			check("revoked", revokedSeen, row.revoked)
			check("with a bound of its own", seen, row.bound, MaxStaleness(2*time.Second))
			check("malformed", "no token", ErrInvalid)
			if got := o.count(); got != row.requests {
				t.Errorf("%d requests, want %d", got, row.requests)
			}
			if got := v.Stats(); got.Fresh || got.AgeMS < 31_000 || got.AgeMS > 60_000 || got.Introspections != uint64(row.requests) {
				t.Errorf("stats: %+v", got)
			}
			// Fresh again, the broker is not asked, and a revocation that was missed counts.
			s.now = aged(0, brokerNow*1000)
			before := o.count()
			check("seen, fresh", seen, nil)
			check("unseen, fresh", unseen, nil)
			s.revoke(revocation.KindSub, "s")
			check("revoked at last", seen, ErrRevoked)
			if o.count() != before {
				t.Error("a fresh validator asks")
			}
		})
	}
}

// What is introspected has passed every other check.
func TestNothingForgedIsIntrospected(t *testing.T) {
	v, s, o, mint := newAsking(t, Introspect, 100)
	s.now = aged(time.Minute, brokerNow*1000-60_000)
	good := mint(brokerNow, brokerNow+300)
	for name, token := range map[string]string{
		"forged":           good[:len(good)-10] + "AAAAAAAAAA",
		"far future":       mint(brokerNow+3600, brokerNow+3700),
		"lives too long":   mint(brokerNow, brokerNow+7200),
		"of another":       "e30.e30.e30",
		"expired, unseen":  mint(brokerNow-100, brokerNow-1),
		"ends as it began": mint(brokerNow, brokerNow-1),
	} {
		if _, err := v.Validate(t.Context(), token); err == nil || errors.Is(err, ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o.count() != 0 {
		t.Errorf("%d were sent to the broker", o.count())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Validate(ctx, good); !errors.Is(err, context.Canceled) || errors.Is(err, ErrStale) {
		t.Errorf("a caller that gave up: %v", err)
	}
}

func TestBoundOfARoute(t *testing.T) {
	for name, row := range map[string]struct {
		age     time.Duration
		options []Option
		clocks  time.Duration // the wall clock was put forward by that, and no tick has seen it
		want    error
		once    bool // only the first reading is so: the thread was stopped in it
	}{
		"met":                           {time.Second, []Option{MaxStaleness(2 * time.Second)}, 0, nil, false},
		"not met":                       {3 * time.Second, []Option{MaxStaleness(2 * time.Second)}, 0, ErrStale, false},
		"the strictest counts":          {3 * time.Second, []Option{MaxStaleness(time.Second), MaxStaleness(time.Minute)}, 0, ErrStale, false},
		"it makes nothing laxer":        {31 * time.Second, []Option{MaxStaleness(time.Hour)}, 0, ErrStale, false},
		"none can be negative":          {time.Second, []Option{MaxStaleness(-time.Second)}, 0, ErrStale, false},
		"an empty option":               {3 * time.Second, []Option{{}}, 0, nil, false},
		"clocks apart":                  {time.Second, []Option{MaxStaleness(2 * time.Second)}, 300 * time.Millisecond, ErrStale, false},
		"clocks apart, the other way":   {time.Second, []Option{MaxStaleness(2 * time.Second)}, -300 * time.Millisecond, ErrStale, false},
		"clocks nearly apart":           {time.Second, []Option{MaxStaleness(2 * time.Second)}, 200 * time.Millisecond, nil, false},
		"clocks apart, no bound of own": {time.Second, nil, 300 * time.Millisecond, nil, false},
		"a busy machine":                {time.Second, []Option{MaxStaleness(2 * time.Second)}, 300 * time.Millisecond, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			v, s, mint := newFake(t)
			seen, unseen := mint(brokerNow, brokerNow+300), mint(brokerNow, brokerNow+300)
			if _, err := v.Validate(t.Context(), seen); err != nil {
				t.Fatal(err)
			}
			s.now = aged(row.age, brokerNow*1000)
			s.now.wallOffsetMS = time.Now().UnixMilli() - monotonic().Milliseconds()
			reads := 0
			v.backend.(*viewBackend).wall = func() time.Time {
				if reads++; row.once && reads > 1 {
					return time.Now()
				}
				return time.Now().Add(row.clocks)
			}
			for shown, token := range map[string]string{"seen": seen, "unseen": unseen} {
				reads = 0
				if _, err := v.Validate(t.Context(), token, row.options...); !errors.Is(err, row.want) {
					t.Errorf("%s: got %v, want %v", shown, err, row.want)
				}
			}
		})
	}
}

// An eviction must not un-revoke, regardless of the policy: a miss is confirmed, or 503.
func TestAMissAfterAnEvictionIsConfirmed(t *testing.T) {
	for _, policy := range []Policy{FailClosed, Introspect, InsecureServeStale} {
		t.Run(string(policy), func(t *testing.T) {
			v, s, o, mint := newAsking(t, policy, 2)
			revoked, good := mint(brokerNow, brokerNow+300), mint(brokerNow, brokerNow+300)
			check := func(shown, token string, want error) {
				t.Helper()
				if _, err := v.Validate(t.Context(), token); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", shown, err, want)
				}
			}
			check("before", revoked, nil)
			check("before", good, nil)
			s.revoke(revocation.KindJTI, "1")
			check("in the denylist", revoked, ErrRevoked)
			if o.count() != 0 {
				t.Fatal("complete, and the broker is asked")
			}
			for n := range 2 {
				s.revoke(revocation.KindJTI, fmt.Sprint("other ", n))
			}
			if s.revoked.Evictions() != 1 || s.revoked.Revoked(revocation.Subject{JTI: "1", SEP: 9}) {
				t.Fatal("nothing was evicted")
			}
			o.set(func(o *oracle) { o.body = no })
			check("evicted", revoked, ErrRevoked)
			o.set(func(o *oracle) { o.body = yes })
			check("not revoked", good, nil)
			check("not revoked, again", good, nil) // within the second
			if o.count() != 2 {
				t.Errorf("%d requests", o.count())
			}
			o.set(func(o *oracle) { o.fails = errors.New("down") })
			for n := range 3 {
				s.revoke(revocation.KindJTI, fmt.Sprint("more ", n))
			}
			check("the broker does not answer", good, ErrStale)
			if got := v.Stats(); !got.Fresh || got.Denylist != 2 || got.Evictions != 4 ||
				got.IncompleteUntil != brokerNow+600 || got.Introspections != 3 {
				t.Errorf("stats: %+v", got)
			}
			late := mint(brokerNow+590, brokerNow+900)
			s.now = aged(0, (brokerNow+600)*1000)
			check("to the end of the evicted", late, ErrStale)
			s.now = aged(0, (brokerNow+601)*1000)
			check("and after it", late, nil)
			before := o.count()
			check("settled", late, nil)
			if o.count() != before {
				t.Error("the broker is asked without end")
			}
		})
	}
}

func TestValidatorWithoutIntrospectionFailsClosed(t *testing.T) {
	v, s, _, mint := newAsking(t, FailClosed, 1)
	v.introspector = nil
	for n := range 2 {
		s.revoke(revocation.KindSID, fmt.Sprint(n))
	}
	if _, err := v.Validate(t.Context(), mint(brokerNow, brokerNow+300)); !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
}

func TestAHitAllocatesNothing(t *testing.T) {
	v, s, _, mint := newAsking(t, Introspect, 100)
	token := mint(brokerNow, brokerNow+300)
	options := []Option{MaxStaleness(20 * time.Second)}
	s.now = aged(0, brokerNow*1000)
	s.now.wallOffsetMS = time.Now().UnixMilli() - monotonic().Milliseconds()
	fixed := s.now
	v.backend.(*viewBackend).source = &steadySource{s, &fixed}
	for name, options := range map[string][]Option{"plain": nil, "a bound of its own": options} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := v.Validate(context.Background(), token, options...); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
