package actor_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/broker/actor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

type (
	adder   = actor.Actor[int, int]
	handler = actor.Handler[int, int]
)

// sum makes a handler that answers with the running total.
func sum() handler {
	total := 0
	return func(_ context.Context, batch []int) []actor.Result[int] {
		results := make([]actor.Result[int], len(batch))
		for i, n := range batch {
			total += n
			results[i].Value = total
		}
		return results
	}
}

// gated makes handlers like sum that send each batch to begun and then wait for gate.
type gated struct {
	begun chan []int
	gate  chan struct{}
}

func newGated() *gated { return &gated{begun: make(chan []int, 100), gate: make(chan struct{})} }

func (g *gated) handler() handler {
	inner := sum()
	return func(ctx context.Context, batch []int) []actor.Result[int] {
		g.begun <- append([]int(nil), batch...)
		<-g.gate
		return inner(ctx, batch)
	}
}

func start(t *testing.T, cfg actor.Config[int, int]) *adder {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = discard
	}
	a := actor.Start(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return a
}

type answer struct {
	value int
	err   error
}

// ask calls Ask in a new goroutine and sends the answer on the channel.
func ask(ctx context.Context, a *adder, n int) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		v, err := a.Ask(ctx, n)
		c <- answer{v, err}
	}()
	return c
}
