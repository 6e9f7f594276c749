package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// TestLostAnswersAreSettled loses the answers to commits, or the commits, on the connection. Each commit must then be written once
// if its result is nil, and not at all otherwise.
func TestLostAnswersAreSettled(t *testing.T) {
	t.Parallel()
	commits := 1000
	if testing.Short() {
		commits = 100
	}
	config := config(t)
	direct := open(t, config)
	p := startProxy(t, shared.Cluster(t).Primary().Addr())
	config.URL, config.Logger = only(t, config.URL, p.address), slog.New(slog.DiscardHandler)
	run, err := origins.Join(t.Context(), origins.Config{
		Engine: open(t, config), Name: "a", KEK: "kek", Logger: config.Logger,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	counted, sealed := 0, 0
	for i := range commits {
		p.set(func() { p.loseNext, p.dropNext = random.IntN(4) > 0, random.IntN(5) == 0 })
		n, err := run.Get(t.Context(), "n")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		change := put("n", string(n.Value)+".", n.Revision)
		var seal store.Seal
		if i%3 == 0 {
			change = withEvent(change)
			seal = func([]revocation.Event) ([]store.Write, error) {
				return []store.Write{{Key: fmt.Sprintf("batch.%04d", i), Value: []byte("b")}}, nil
			}
		}
		if err := run.Commit(t.Context(), []store.Change{change}, seal)[0]; err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		counted++
		if seal != nil {
			sealed++
		}
	}
	p.set(func() { p.loseNext, p.dropNext = false, false })
	if got := len(value(t, direct, "n")); got != counted {
		t.Errorf("%d of %d commits were written", got, counted)
	}
	if batches, err := direct.List(t.Context(), "batch.", "", commits); err != nil || len(batches) != sealed {
		t.Errorf("%d of %d batches were written, %v", len(batches), sealed, err)
	}
	if stats := run.Stats(); p.lost < commits/3 || stats.Written < uint64(commits/4) || stats.NotWritten == 0 || stats.Unknown != 0 {
		t.Errorf("%d answers were lost; settled: %+v", p.lost, stats)
	}
	if p.cancels != 0 {
		t.Errorf("%d statements were cancelled", p.cancels)
	}
}
