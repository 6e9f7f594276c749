package etcdstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// TestASweepDeletesExpiredRecordsOfACluster in commits that the members accept.
func TestASweepDeletesExpiredRecordsOfACluster(t *testing.T) {
	t.Parallel()
	s := open(t, config(t))
	const expired = 150
	for i := range expired {
		w := store.Write{Key: fmt.Sprintf("once.%03d", i), Value: []byte("v"), ExpiresAt: time.Now().Add(-2 * time.Hour).Unix()}
		kept := store.Write{Key: fmt.Sprintf("session.%03d", i), Value: []byte("v"), ExpiresAt: time.Now().Add(time.Hour).Unix()}
		if _, errs := s.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w, kept}}}, nil); errs[0] != nil {
			t.Fatal(errs)
		}
	}
	passed := make(chan struct{})
	run, err := origins.Join(t.Context(), origins.Config{
		Engine: s, Name: "a", KEK: "kek",
		Sleep: func(ctx context.Context, d time.Duration) error {
			if d >= time.Minute { // after a complete pass
				close(passed)
				<-ctx.Done()
			}
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := run.Collector(t.Context()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	sweep := run.NewSweep(s)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { sweep.Run(ctx); close(ended) }()
	<-passed
	cancel()
	<-ended
	left, _, err := s.Expired(t.Context(), 1<<60, "", 1000)
	if err != nil || len(left) != expired || sweep.Deleted() != expired {
		t.Errorf("%d records are left, %d were deleted: %v", len(left), sweep.Deleted(), err)
	}
}
