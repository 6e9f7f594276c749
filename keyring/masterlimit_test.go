package keyring_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countingStore counts reads.
type countingStore struct {
	memStore
	loads atomic.Int64
}

func (c *countingStore) Load(ctx context.Context) ([]byte, uint64, error) {
	c.loads.Add(1)
	return c.memStore.Load(ctx)
}

func TestMasterRotationWaitsWhileThereAreTooManySecrets(t *testing.T) {
	const day = 24 * time.Hour
	clock := newClock()
	cfg := rotating(t, &memStore{}, clock, nil)
	cfg.RotateEvery, cfg.MasterLife = day, 90*day
	ring := open(t, cfg)
	for range 60 * 24 {
		next := applyDue(t, ring)
		if !next.After(clock.now()) {
			t.Fatalf("after %s the next change has been due for %s", clock.now().Sub(testTime), clock.now().Sub(next))
		}
		if s := ring.Status(); len(s.Overdue) != 0 {
			t.Fatalf("after %s overdue: %v", clock.now().Sub(testTime), s.Overdue)
		}
		clock.pass(min(time.Hour, max(time.Second, next.Sub(clock.now()))))
	}
	if n := len(ring.Keys("refresh")); n != 32 {
		t.Errorf("%d secrets are accepted", n)
	}
	// Then the oldest one is dropped, and a new one is made.
	for range 60 * 24 {
		clock.pass(time.Hour)
		applyDue(t, ring)
	}
	if n := len(ring.Keys("refresh")); n > 32 {
		t.Errorf("%d secrets are accepted", n)
	}
	if at := find(t, ring, "master", "active").Activates; clock.now().Sub(at) > 60*day {
		t.Errorf("the active secret was activated at %s", at)
	}
}

func TestRunDoesNotPollWhileThereAreTooManySecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingStore{}
		cfg := config(t, store)
		cfg.Now, cfg.RotateEvery = time.Now, time.Hour
		ring := open(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = ring.Run(ctx) }()
		time.Sleep(40 * time.Hour)
		synctest.Wait()
		before := store.loads.Load()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := store.loads.Load() - before; n > 20 {
			t.Errorf("the store was read %d times in a minute", n)
		}
		cancel()
		<-done
	})
}
