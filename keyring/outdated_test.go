package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

// maxAge is how old a read of a shared store may be, with the default cache life.
const maxAge = 2 * margin / 3

// wantOutdated checks that the keyring signs and publishes, or that it does neither.
func wantOutdated(t *testing.T, ring *keyring.Keyring, outdated bool) {
	t.Helper()
	_, accessErr := ring.SignAccessToken(t.Context(), []byte(`{}`))
	_, feedErr := ring.SignFeed(revocation.HeartbeatType, revocation.Heartbeat{})
	for what, err := range map[string]error{"Outdated": ring.Outdated(), "SignAccessToken": accessErr, "SignFeed": feedErr} {
		if errors.Is(err, keyring.ErrOutdated) != outdated || err != nil != outdated {
			t.Errorf("%s = %v, want ErrOutdated: %t", what, err, outdated)
		}
	}
	for what, doc := range map[string]keyring.Document{"JWKS": ring.JWKS(), "FeedJWKS": ring.FeedJWKS()} {
		if none := len(doc.Body) == 0 && doc.ETag == ""; none != outdated {
			t.Errorf("%s has %d bytes and the ETag %q, want none: %t", what, len(doc.Body), doc.ETag, outdated)
		}
	}
}

func TestAnOutdatedKeyringSignsAndPublishesNothing(t *testing.T) {
	for name, shared := range map[string]bool{"a shared store": true, "a store with one writer": false} {
		t.Run(name, func(t *testing.T) {
			clock, store := newClock(), &outageStore{}
			cfg := rotating(t, store, clock, nil)
			cfg.Shared = shared
			ring := open(t, cfg)
			store.set(true)
			clock.step(time.Hour) // the wall clock does not count
			clock.pass(maxAge)
			if err := ring.Reload(t.Context()); !errors.Is(err, errDown) {
				t.Errorf("Reload = %v", err)
			}
			wantOutdated(t, ring, false)
			clock.pass(1)
			wantOutdated(t, ring, shared)
			if _, _, ok := ring.Verifier(find(t, ring, "access", "active").KID); !ok || len(ring.Keys("test")) == 0 {
				t.Error("the keyring does not verify or derive keys")
			}
			store.set(false)
			if err := ring.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantOutdated(t, ring, false)
		})
	}
}

// slowStore is a store whose reads take a time on the clock.
type slowStore struct {
	memStore
	clock *clock
	takes time.Duration
}

func (s *slowStore) Load(ctx context.Context) ([]byte, uint64, error) {
	data, rev, err := s.memStore.Load(ctx)
	s.clock.pass(s.takes)
	return data, rev, err
}

func TestTheAgeOfAReadCountsFromItsBeginning(t *testing.T) {
	clock := newClock()
	store := &slowStore{clock: clock}
	cfg := rotating(t, store, clock, nil)
	cfg.Shared = true
	ring := open(t, cfg)
	for takes, outdated := range map[time.Duration]bool{maxAge: false, maxAge + 1: true, 0: false} {
		store.takes = takes
		if err := ring.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantOutdated(t, ring, outdated)
	}
}

// Another broker resealed the keys: a broker that has not got the new KEK cannot read them.
func TestARecordThatCannotBeOpenedCountsAsNotRead(t *testing.T) {
	clock, store := newClock(), &memStore{}
	cfg := rotating(t, store, clock, nil)
	cfg.Shared = true
	ring, other := open(t, cfg), open(t, cfg)
	if err := other.RotateKEK(t.Context(), sealer(t, 2)); err != nil {
		t.Fatal(err)
	}
	clock.pass(maxAge + 1)
	for _, r := range []*keyring.Keyring{ring, other} {
		_ = r.Reload(t.Context())
		wantOutdated(t, r, r == ring)
	}
}

// A stopped process finds itself outdated at its first signature. Other brokers rotate in the meantime, and
// the key that it would have signed with leaves the JWK set.
func TestAStoppedBrokerSignsNothingWithARemovedKey(t *testing.T) {
	clock, store := newClock(), &memStore{}
	cfg := rotating(t, store, clock, nil)
	cfg.Shared = true
	stopped, other := open(t, cfg), open(t, cfg)
	old := find(t, stopped, "access", "active").KID
	rotate(t, other, "access", "")
	for range 80 {
		clock.pass(margin / 3)
		applyDue(t, other)
	}
	if _, _, published := other.Verifier(old); published {
		t.Fatal("the key is still published: the test shows nothing")
	}
	wantOutdated(t, stopped, true)
	applyDue(t, stopped)
	wantOutdated(t, stopped, false)
	if _, _, published := stopped.Verifier(old); published {
		t.Error("the old key verifies after a read")
	}
}

// A broker that lost the store signs for a while with a key that another broker retired. The clock of both
// is ahead in that time, so that its tokens expire late. They stay verifiable.
func TestTokensOfACutOffBrokerKeepTheirKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		w.pass(10 * time.Minute)
		for _, d := range []action{
			{what: "cut", broker: 1},
			{what: "rotate", broker: 0, purpose: "access"},
			{what: "jump", jump: 30 * time.Minute, then: margin / 3},
			{what: "jump", jump: -30 * time.Minute, then: 30 * time.Minute},
			{what: "reconnect", broker: 1, then: 5 * time.Minute},
		} {
			w.do(d)
			w.pass(d.then)
		}
		for i := range w.brokers {
			w.end(i)
		}
		if w.fault != "" {
			t.Error(w.fault)
		}
		if len(w.seen) < 2 {
			t.Error("no other key signed")
		}
	})
}

func TestShortFailuresOfASharedStoreDoNotDelayRotation(t *testing.T) {
	clock, store := newClock(), &outageStore{}
	cfg := rotating(t, store, clock, nil)
	cfg.Shared = true
	ring := open(t, cfg)
	next := find(t, ring, "access", "next").KID
	for passed := time.Duration(0); passed < readyAfter; passed += margin / 3 {
		clock.pass(margin / 3)
		store.set(true)
		if _, _, err := ring.ApplyDue(t.Context()); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		store.set(false)
		applyDue(t, ring)
	}
	if r := rotate(t, ring, "access", ""); r.Scheduled || r.Active.KID != next {
		t.Errorf("rotation = %+v, want the next key to sign at once", r)
	}

	clock.pass(maxAge + 1) // now other brokers may have served an older JWK set
	next = find(t, ring, "access", "next").KID
	clock.pass(readyAfter - maxAge - 1)
	if r := rotate(t, ring, "access", ""); !r.Scheduled || r.Next.KID != next {
		t.Errorf("rotation = %+v, want the next key to be published again for its full time", r)
	}
}

func TestABrokerThatIsNotOutdatedKnowsTheMasterSecretInUse(t *testing.T) {
	clock, store := newClock(), &memStore{}
	cfg := rotating(t, store, clock, nil)
	cfg.Shared = true
	cutOff, other := open(t, cfg), open(t, cfg)
	first := other.Keys("test")[0]
	rotate(t, other, "master", "")
	used := false
	for range 2 * margin / time.Second {
		applyDue(t, other)
		current := other.Keys("test")[0]
		used = used || !bytes.Equal(current, first)
		known := slices.ContainsFunc(cutOff.Keys("test"), func(k []byte) bool { return bytes.Equal(k, current) })
		if cutOff.Outdated() == nil && !known {
			t.Fatal("the other broker uses a secret that this one does not know")
		}
		clock.pass(time.Second)
	}
	if !used {
		t.Error("the new secret is never used")
	}
}

// hangingStore counts reads. While hang is set, a read waits until its context ends.
type hangingStore struct {
	memStore
	reads atomic.Int64
	hang  atomic.Bool
}

func (c *hangingStore) Load(ctx context.Context) ([]byte, uint64, error) {
	c.reads.Add(1)
	if c.hang.Load() {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return c.memStore.Load(ctx)
}

// running starts a keyring in a bubble. The reads that were made so far do not count.
func running(t *testing.T, store *hangingStore) *keyring.Keyring {
	cfg := config(t, store)
	cfg.Now, cfg.Shared = time.Now, true
	ring := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = ring.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	store.reads.Store(0)
	return ring
}

func TestRunReadsThreeTimesWithinTheMarginAndAtAHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingStore{}
		ring := running(t, store)
		time.Sleep(3 * margin)
		synctest.Wait()
		if n := store.reads.Load(); n != 9 {
			t.Errorf("%d reads in three margins, want 9", n)
		}
		ring.Refresh()
		synctest.Wait()
		if n := store.reads.Load(); n != 10 {
			t.Errorf("%d reads after a hint, want one more", n)
		}
	})
}

func TestHintsWithoutRunDoNotBlock(t *testing.T) {
	ring := open(t, config(t, &memStore{}))
	for range 3 {
		ring.Refresh()
	}
}

func TestRunAbandonsAReadThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingStore{}
		ring := running(t, store)
		store.hang.Store(true)
		time.Sleep(margin)
		synctest.Wait()
		wantOutdated(t, ring, true)
		if s := ring.Status(); !errors.Is(s.Err, context.DeadlineExceeded) {
			t.Errorf("status = %+v", s)
		}
		store.hang.Store(false)
		time.Sleep(maxAge)
		synctest.Wait()
		wantOutdated(t, ring, false)
		if s := ring.Status(); s.Err != nil {
			t.Errorf("status = %+v after a read", s)
		}
	})
}

func TestTwoBrokersOnASharedStoreHaveOneLineageOfKeys(t *testing.T) {
	clock, store := newClock(), &memStore{}
	cfg := rotating(t, store, clock, nil)
	cfg.Shared, cfg.RotateEvery = true, time.Hour
	rings := []*keyring.Keyring{open(t, cfg), open(t, cfg)}
	signed, rotations := map[string]bool{}, 0
	for range 3600 {
		clock.pass(margin / 3)
		for _, ring := range rings {
			changes, _, err := ring.ApplyDue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if c.What == lifecycle.ChangeActivated && c.Key.Purpose == lifecycle.PurposeAccess {
					rotations++
				}
			}
			signed[find(t, ring, "access", "active").KID] = true
		}
	}
	if rotations < 8 || rotations > 11 || len(signed) != rotations+1 {
		t.Errorf("%d rotations and %d keys in ten hours, want about ten, and one key more", rotations, len(signed))
	}
}
