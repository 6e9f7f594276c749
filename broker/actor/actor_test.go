package actor_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker/actor"
)

func TestFullMailboxIsBusyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		a := start(t, actor.Config[int, int]{Mailbox: 2, New: g.handler})
		first := ask(t.Context(), a, 1)
		synctest.Wait() // the batch has started: it is no longer in the mailbox
		second, third := ask(t.Context(), a, 2), ask(t.Context(), a, 3)
		synctest.Wait()

		began := time.Now()
		if _, err := a.Ask(t.Context(), 4); !errors.Is(err, actor.ErrBusy) {
			t.Fatalf("Ask on a full mailbox: %v, want ErrBusy", err)
		}
		if time.Since(began) != 0 {
			t.Error("a full mailbox made the caller wait")
		}
		if s := a.Stats(); s.Depth != 2 || s.Accepted != 3 || s.Refused != 1 {
			t.Errorf("Stats = %+v", s)
		}
		close(g.gate)
		for _, c := range []<-chan answer{first, second, third} {
			if got := <-c; got.err != nil {
				t.Errorf("an accepted message got %v", got.err)
			}
		}
		if v, err := a.Ask(t.Context(), 4); err != nil || v != 10 {
			t.Errorf("after the mailbox was full: %d, %v; want 10, without the refused message", v, err)
		}
	})
}

func TestBatchHoldsAllThatWaitUpToMaxBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		obs := new(recorder)
		a := start(t, actor.Config[int, int]{MaxBatch: 3, New: g.handler, Observer: obs})
		ask(t.Context(), a, 1)
		synctest.Wait()
		for n := 2; n <= 6; n++ {
			ask(t.Context(), a, n)
			synctest.Wait()
		}
		time.Sleep(time.Second) // fake time: the batch is held up for a second
		close(g.gate)
		synctest.Wait()
		for _, want := range [][]int{{1}, {2, 3, 4}, {5, 6}} {
			if got := <-g.begun; !slices.Equal(got, want) {
				t.Errorf("batch %v, want %v", got, want)
			}
		}
		if s := a.Stats(); s.Batches != 3 || s.Messages != 6 {
			t.Errorf("Stats = %+v", s)
		}
		want := []batchSeen{{1, 0}, {3, time.Second}, {2, time.Second}}
		if !slices.Equal(obs.batches, want) {
			t.Errorf("observed %v, want %v", obs.batches, want)
		}
	})
}

func TestMessageOfACanceledCallerIsSkipped(t *testing.T) {
	t.Run("before it entered is not accepted", func(t *testing.T) {
		a := start(t, actor.Config[int, int]{New: sum})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.Ask(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if s := a.Stats(); s.Accepted != 0 {
			t.Errorf("Stats = %+v", s)
		}
	})
	t.Run("before its message began is skipped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGated()
			a := start(t, actor.Config[int, int]{New: g.handler})
			ask(t.Context(), a, 1)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			gone := ask(ctx, a, 100)
			synctest.Wait()
			stays := ask(t.Context(), a, 2)
			time.Sleep(time.Minute)
			if got := <-gone; !errors.Is(got.err, context.DeadlineExceeded) {
				t.Errorf("got %v while the actor was still held up", got.err)
			}
			close(g.gate)
			if got := <-stays; got.value != 3 || got.err != nil {
				t.Errorf("the next message got %+v, want 3", got)
			}
			if s := a.Stats(); s.Skipped != 1 || s.Messages != 2 {
				t.Errorf("Stats = %+v", s)
			}
		})
	})
	t.Run("after its message began does not hold up the actor", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGated()
			a := start(t, actor.Config[int, int]{New: g.handler})
			ctx, cancel := context.WithCancel(t.Context())
			gone := ask(ctx, a, 1)
			synctest.Wait()
			cancel()
			if got := <-gone; !errors.Is(got.err, context.Canceled) {
				t.Errorf("got %v", got.err)
			}
			close(g.gate)
			if v, err := a.Ask(t.Context(), 2); v != 3 || err != nil {
				t.Errorf("got %d, %v; want 3: a started message is carried out", v, err)
			}
		})
	})
}

// bomb makes handlers like sum that panic on a batch with a negative number.
func bomb() handler {
	inner := sum()
	return func(ctx context.Context, batch []int) []actor.Result[int] {
		if slices.ContainsFunc(batch, func(n int) bool { return n < 0 }) {
			panic("negative")
		}
		return inner(ctx, batch)
	}
}

func TestPanicFailsItsBatchAndRestartsWithFreshState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		obs := new(recorder)
		a := start(t, actor.Config[int, int]{
			Name: "test", New: bomb, Observer: obs, Backoff: actor.Backoff{Min: time.Second, Max: 4 * time.Second},
			Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		a.Ask(t.Context(), 7)
		_, err := a.Ask(t.Context(), -1)
		var pe *actor.PanicError
		if !errors.As(err, &pe) || pe.Actor != "test" || pe.Value != "negative" || len(pe.Stack) == 0 {
			t.Fatalf("got %v, want a PanicError with value and stack", err)
		}
		began := time.Now()
		if v, err := a.Ask(t.Context(), 2); v != 2 || err != nil {
			t.Errorf("after the restart: %d, %v; want 2 from new state", v, err)
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("restarted after %v, want 1s", got)
		}
		if s := a.Stats(); s.Restarts != 1 {
			t.Errorf("Stats = %+v", s)
		}
		if !slices.Equal(obs.restarts, []any{"negative"}) {
			t.Errorf("observed %v", obs.restarts)
		}
		if !strings.Contains(logged.String(), "negative") {
			t.Error("the panic was not logged")
		}
	})
}

func TestAbortDeliversItsAnswersAndRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[int]bool{1: true, 0: false, 2: false} {
			obs := new(recorder)
			a := start(t, actor.Config[int, int]{Observer: obs, New: func() actor.Handler[int, int] {
				return func(context.Context, []int) []actor.Result[int] {
					results := []actor.Result[int]{{Value: 3}, {Value: 4}}
					panic(actor.Abort[int]{Results: results[:given], Cause: "half done"})
				}
			}})
			v, err := a.Ask(t.Context(), 1)
			var pe *actor.PanicError
			if delivered := v == 3 && err == nil; delivered != want || !delivered && !errors.As(err, &pe) {
				t.Errorf("%d results for one message: %d, %v", given, v, err)
			}
			synctest.Wait()
			if s := a.Stats(); s.Restarts != 1 || !slices.Equal(obs.restarts, []any{"half done"}) {
				t.Errorf("%+v, observed %v", s, obs.restarts)
			}
		}
	})
}

func TestBackoffDoublesUntilABatchSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, actor.Config[int, int]{New: bomb, Backoff: actor.Backoff{Min: time.Second, Max: 4 * time.Second}})
		var pauses []time.Duration
		for _, n := range []int{-1, -1, -1, -1, 1, -1, 1} {
			began := time.Now()
			a.Ask(t.Context(), n)
			pauses = append(pauses, time.Since(began).Round(time.Second)/time.Second)
		}
		if want := []time.Duration{0, 1, 2, 4, 4, 0, 1}; !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
	})
}

func TestMailboxFillsDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, actor.Config[int, int]{Mailbox: 1, New: bomb, Backoff: actor.Backoff{Min: time.Hour}})
		a.Ask(t.Context(), -1)
		waits := ask(t.Context(), a, 5)
		synctest.Wait()
		if _, err := a.Ask(t.Context(), 6); !errors.Is(err, actor.ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		if got := <-waits; got.value != 5 || got.err != nil {
			t.Errorf("the waiting message got %+v", got)
		}
	})
}

func TestStopDuringBackoffIsPromptAndAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, actor.Config[int, int]{New: bomb, Backoff: actor.Backoff{Min: time.Hour}})
		a.Ask(t.Context(), -1)
		waits := ask(t.Context(), a, 5)
		synctest.Wait()
		began := time.Now()
		if err := a.Stop(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("Stop: %v after %v", err, time.Since(began))
		}
		if got := <-waits; got.value != 5 || got.err != nil {
			t.Errorf("the waiting message got %+v", got)
		}
	})
}

func TestInvalidHandlersCountAsPanics(t *testing.T) {
	short := func() handler {
		return func(context.Context, []int) []actor.Result[int] { return nil }
	}
	for name, newHandler := range map[string]func() handler{
		"wrong number of results": short,
		"New panics":              func() handler { panic("no") },
		"New returns nil":         func() handler { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := true
				a := start(t, actor.Config[int, int]{New: func() handler {
					if !first {
						return sum()
					}
					first = false
					return newHandler()
				}})
				if name == "wrong number of results" {
					var pe *actor.PanicError
					if _, err := a.Ask(t.Context(), 1); !errors.As(err, &pe) {
						t.Errorf("got %v, want a PanicError", err)
					}
				}
				if v, err := a.Ask(t.Context(), 2); v != 2 || err != nil {
					t.Errorf("after the restart: %d, %v", v, err)
				}
				if s := a.Stats(); s.Restarts != 1 {
					t.Errorf("Stats = %+v", s)
				}
			})
		})
	}
	t.Run("New never works, and Stop answers those who wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, actor.Config[int, int]{New: func() handler { panic("never") }})
			waits := ask(t.Context(), a, 1)
			synctest.Wait()
			if err := a.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			var pe *actor.PanicError
			if got := <-waits; !errors.As(got.err, &pe) {
				t.Errorf("got %v, want a PanicError", got.err)
			}
		})
	})
	t.Run("an observer that panics does not end the process", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, actor.Config[int, int]{New: sum, Observer: badObserver{}})
			var pe *actor.PanicError
			if _, err := a.Ask(t.Context(), 1); !errors.As(err, &pe) {
				t.Errorf("got %v, want a PanicError", err)
			}
		})
	})
	t.Run("Goexit in a handler answers ErrStopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, actor.Config[int, int]{New: func() handler {
				return func(context.Context, []int) []actor.Result[int] { runtime.Goexit(); return nil }
			}})
			for range 2 {
				if _, err := a.Ask(t.Context(), 1); !errors.Is(err, actor.ErrStopped) {
					t.Errorf("got %v, want ErrStopped", err)
				}
			}
		})
	})
}

func TestPanicErrorUnwraps(t *testing.T) {
	if err := error(&actor.PanicError{Value: context.Canceled}); !errors.Is(err, context.Canceled) {
		t.Error("a panic with an error does not unwrap to it")
	}
}

func TestStopDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		a := start(t, actor.Config[int, int]{MaxBatch: 2, New: g.handler})
		var answers []<-chan answer
		for range 9 {
			answers = append(answers, ask(t.Context(), a, 1))
		}
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- a.Stop(context.Background()) }()
		synctest.Wait()
		if _, err := a.Ask(t.Context(), 1); !errors.Is(err, actor.ErrStopped) {
			t.Errorf("Ask after Stop: %v, want ErrStopped", err)
		}
		close(g.gate)
		if err := <-stopped; err != nil {
			t.Errorf("Stop: %v", err)
		}
		total := 0
		for _, c := range answers {
			got := <-c
			if got.err != nil {
				t.Errorf("an accepted message got %v", got.err)
			}
			total = max(total, got.value)
		}
		if total != 9 {
			t.Errorf("total %d, want 9", total)
		}
	})
}

func TestStopCancelsTheHandlerWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, actor.Config[int, int]{New: func() handler {
			return func(ctx context.Context, batch []int) []actor.Result[int] {
				<-ctx.Done()
				return []actor.Result[int]{{Err: ctx.Err()}}
			}
		}})
		waits := ask(t.Context(), a, 1)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop: %v, want DeadlineExceeded", err)
		}
		if got := <-waits; !errors.Is(got.err, context.Canceled) {
			t.Errorf("the caller got %v", got.err)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Errorf("second Stop: %v", err)
		}
	})
}

// Callers and Stop race: every message is either refused or answered, and the answers
// together account for each accepted message exactly once.
func TestConcurrentAskAndStopLoseNothing(t *testing.T) {
	for range 50 {
		a := start(t, actor.Config[int, int]{Mailbox: 16, MaxBatch: 5, New: sum})
		var (
			wg       sync.WaitGroup
			mu       sync.Mutex
			answered = map[int]bool{}
		)
		for range 8 {
			wg.Go(func() {
				for {
					v, err := a.Ask(context.Background(), 1)
					switch {
					case err == nil:
						mu.Lock()
						if answered[v] {
							t.Errorf("two callers were answered %d", v)
						}
						answered[v] = true
						mu.Unlock()
					case errors.Is(err, actor.ErrStopped):
						return
					case !errors.Is(err, actor.ErrBusy):
						t.Errorf("Ask: %v", err)
						return
					}
				}
			})
		}
		for a.Stats().Messages < 100 {
			runtime.Gosched()
		}
		if err := a.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if s := a.Stats(); uint64(len(answered)) != s.Accepted || s.Messages != s.Accepted || s.Depth != 0 {
			t.Fatalf("%d answers, Stats = %+v", len(answered), s)
		}
	}
}

func TestStartPanicsOnInvalidConfig(t *testing.T) {
	for name, cfg := range map[string]actor.Config[int, int]{
		"no New":           {},
		"negative mailbox": {New: sum, Mailbox: -1},
		"negative backoff": {New: sum, Backoff: actor.Backoff{Min: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("Start did not panic")
				}
			}()
			actor.Start(cfg)
		})
	}
}

type batchSeen struct {
	size int
	wait time.Duration
}

type recorder struct {
	batches  []batchSeen
	restarts []any
}

func (r *recorder) Batch(_ string, size int, wait time.Duration) {
	r.batches = append(r.batches, batchSeen{size, wait})
}
func (r *recorder) Restart(_ string, cause any) { r.restarts = append(r.restarts, cause) }

type badObserver struct{}

func (badObserver) Batch(string, int, time.Duration) { panic("batch") }
func (badObserver) Restart(string, any)              { panic("restart") }
