package validator_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/validator"
)

// newBinder is a Validator in process without keys: Bind asks for none.
func newBinder(tb testing.TB) (*validator.Validator, *revocation.Denylist, *atomic.Int64) {
	tb.Helper()
	deny, ahead := revocation.NewDenylist(), new(atomic.Int64)
	v, err := validator.NewInProcess(validator.InProcessConfig{
		Issuer: "https://issuer", Audiences: []string{"test"}, Denylist: deny, MaxLifetime: time.Hour,
		Keys: func(string) (string, crypto.PublicKey, bool) { return "", nil, false },
		Now:  func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return v, deny, ahead
}

func claimsOf(n int) *validator.Claims {
	return &validator.Claims{
		ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), SessionID: fmt.Sprintf("session-%d", n), Subject: fmt.Sprintf("sub-%d", n),
		ClientID: "spa", KeyID: "k1", SEP: 5, CEP: 5, ExpiresAt: time.Now().Add(15 * time.Minute),
	}
}

func TestRevocationEndsOnlyTheStreamsThatItHits(t *testing.T) {
	for name, row := range map[string]struct {
		event revocation.Event
		ends  bool
	}{
		"jti":                   {event(revocation.KindJTI, claimsOf(7).ID, 0), true},
		"another jti":           {event(revocation.KindJTI, claimsOf(8).ID, 0), false},
		"a jti in capitals":     {event(revocation.KindJTI, "X", 0), false},
		"sid":                   {event(revocation.KindSID, "session-7", 0), true},
		"another sid":           {event(revocation.KindSID, "session-8", 0), false},
		"a sid of a jti's text": {event(revocation.KindSID, claimsOf(7).ID, 0), false},
		"sub":                   {event(revocation.KindSub, "sub-7", 6), true},
		"sub, an older epoch":   {event(revocation.KindSub, "sub-7", 5), false},
		"client":                {event(revocation.KindClient, "spa", 6), true},
		"client, older epoch":   {event(revocation.KindClient, "spa", 5), false},
		"another client":        {event(revocation.KindClient, "other", 6), false},
		"kid":                   {event(revocation.KindKID, "k1", 0), true},
		"another kid":           {event(revocation.KindKID, "k2", 0), false},
		"all":                   {event(revocation.KindAll, "", 6), true},
		"all, an older epoch":   {event(revocation.KindAll, "", 5), false},
	} {
		t.Run(name, func(t *testing.T) {
			v, deny, _ := newBinder(t)
			other := &validator.Claims{
				ID: "other", Subject: "other", ClientID: "c2", KeyID: "k9", SEP: 9, CEP: 9, ExpiresAt: time.Now().Add(time.Hour),
			}
			far, cancelFar := v.Bind(t.Context(), other)
			defer cancelFar()
			one, cancelOne := v.Bind(t.Context(), claimsOf(7))
			defer cancelOne()
			two, cancelTwo := v.Bind(t.Context(), claimsOf(7)) // a second stream of the token
			defer cancelTwo()
			deny.Apply(row.event)
			late, cancelLate := v.Bind(t.Context(), claimsOf(7))
			defer cancelLate()
			for which, ctx := range map[string]context.Context{"first": one, "second": two, "late": late} {
				if ended := ctx.Err() != nil; ended != row.ends {
					t.Errorf("%s: ended is %v", which, ended)
				}
				if row.ends && !errors.Is(context.Cause(ctx), validator.ErrRevoked) {
					t.Errorf("%s: the cause is %v", which, context.Cause(ctx))
				}
			}
			if far.Err() != nil {
				t.Error("a stream of another token ended")
			}
		})
	}
}

func TestAKeyNamedCompromisedEndsItsStreams(t *testing.T) {
	v, deny, _ := newBinder(t)
	ctx, cancel := v.Bind(t.Context(), claimsOf(1))
	defer cancel()
	deny.SetKids([]string{"k0", "k1"})
	if !errors.Is(context.Cause(ctx), validator.ErrRevoked) {
		t.Errorf("the cause is %v", context.Cause(ctx))
	}
}

func TestAStreamEndsWithItsTokenByTheBrokersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _, ahead := newBinder(t)
		bind := func(d time.Duration) context.Context {
			c := claimsOf(int(d))
			c.ExpiresAt = time.Now().Add(d)
			ctx, _ := v.Bind(t.Context(), c) // forgotten: freed by the end
			return ctx
		}
		expired := func(ctx context.Context) bool {
			synctest.Wait()
			return errors.Is(context.Cause(ctx), validator.ErrExpired)
		}
		long, short, over := bind(90*time.Second), bind(10*time.Second), bind(-time.Second)
		if !expired(over) {
			t.Error("an expired token is bound")
		}
		time.Sleep(10*time.Second - time.Millisecond)
		if short.Err() != nil {
			t.Error("ended too early")
		}
		time.Sleep(time.Millisecond)
		if !expired(short) || long.Err() != nil {
			t.Error("not at exp")
		}
		ahead.Store(int64(time.Hour)) // the broker's clock is put forward
		time.Sleep(time.Second)
		if !expired(long) {
			t.Error("the broker's clock is not asked")
		}
		v.Close()
	})
}

func TestReleaseEndsOneStreamAndOnlyOnce(t *testing.T) {
	v, deny, _ := newBinder(t)
	one, cancel := v.Bind(t.Context(), claimsOf(1))
	cancel()
	if !errors.Is(context.Cause(one), context.Canceled) {
		t.Errorf("the cause is %v", context.Cause(one))
	}
	two, cancelTwo := v.Bind(t.Context(), claimsOf(1)) // in the place of the first
	defer cancelTwo()
	cancel()
	if two.Err() != nil {
		t.Error("a second call ended another's stream")
	}
	deny.Apply(event(revocation.KindSID, "session-1", 0))
	cancelTwo()
	if !errors.Is(context.Cause(two), validator.ErrRevoked) {
		t.Errorf("the first cause is lost: %v", context.Cause(two))
	}
}

func TestCloseEndsAllStreams(t *testing.T) {
	v, deny, _ := newBinder(t)
	before, cancel := v.Bind(t.Context(), claimsOf(1))
	defer cancel()
	v.Close()
	v.Close()
	after, cancelAfter := v.Bind(t.Context(), claimsOf(2))
	defer cancelAfter()
	for _, ctx := range []context.Context{before, after} {
		if !errors.Is(context.Cause(ctx), validator.ErrClosed) {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
	}
	deny.Apply(event(revocation.KindAll, "", 9))
}

func TestNoStreamEscapesARevocationThatComesWhileItIsBound(t *testing.T) {
	v, deny, _ := newBinder(t)
	for n := range 3000 {
		c := claimsOf(n)
		e := []revocation.Event{
			event(revocation.KindJTI, c.ID, 0), event(revocation.KindSID, c.SessionID, 0), event(revocation.KindSub, c.Subject, 6),
		}[n%3]
		var group sync.WaitGroup
		group.Go(func() { deny.Apply(e) })
		ctx, cancel := v.Bind(t.Context(), c)
		other, cancelOther := v.Bind(t.Context(), claimsOf(n+1_000_000))
		if n%2 == 0 {
			cancelOther()
		}
		group.Wait()
		if !errors.Is(context.Cause(ctx), validator.ErrRevoked) || n%2 == 1 && other.Err() != nil {
			t.Fatalf("round %d: %v, %v", n, context.Cause(ctx), other.Err())
		}
		cancelOther()
		cancel()
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestManyStreamsAreSmallAndEndAtOnce(t *testing.T) {
	const streams, bound = 100_000, 300
	v, deny, _ := newBinder(t)
	all := make([]*validator.Claims, streams)
	for i := range all {
		all[i] = claimsOf(i)
	}
	contexts, cancels := make([]context.Context, streams), make([]context.CancelFunc, streams)
	goroutines, before := runtime.NumGoroutine(), heap()
	for i, c := range all {
		contexts[i], cancels[i] = v.Bind(context.Background(), c)
		contexts[i].Done()
	}
	each := (heap() - before) / streams
	t.Logf("%d bytes for each of %d", each, streams)
	if each > bound {
		t.Errorf("%d bytes each, want at most %d", each, bound)
	}
	if n := runtime.NumGoroutine(); n > goroutines+1 {
		t.Errorf("%d goroutines more", n-goroutines)
	}
	for i := range 1000 {
		deny.Apply(event(revocation.KindSID, fmt.Sprintf("session-%d", i*7), 0))
		if contexts[i*7].Err() == nil {
			t.Fatal("not ended")
		}
	}
	deny.Apply(event(revocation.KindAll, "", 6))
	for i, ctx := range contexts {
		if ctx.Err() == nil {
			t.Fatalf("stream %d goes on", i)
		}
		cancels[i]()
	}
}
