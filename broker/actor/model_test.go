package actor_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tokenbroker/broker/actor"
)

// twin is a model of an actor without a goroutine: a list of waiting numbers and a total. The test
// applies the same operations to the twin and the actor and compares their answers.
type twin struct {
	mailbox, maxBatch int
	waiting           []*pending
	total             int
	begun             []*pending // the batch behind the gate
	restarts          uint64
}

type pending struct {
	n      int
	gone   bool // its caller's context ended
	cancel context.CancelFunc
	answer <-chan answer
	want   answer
}

var errPanic = &actor.PanicError{}

// next takes the next batch from those that wait, as an idle actor does.
func (w *twin) next() {
	for len(w.begun) < w.maxBatch && len(w.waiting) > 0 {
		if p := w.waiting[0]; !p.gone {
			w.begun = append(w.begun, p)
		}
		w.waiting = w.waiting[1:]
	}
}

// finish carries out the current batch.
func (w *twin) finish() {
	if slices.ContainsFunc(w.begun, func(p *pending) bool { return p.n < 0 }) {
		for _, p := range w.begun {
			p.want = answer{err: errPanic}
		}
		w.total = 0
		w.restarts++
	} else {
		for _, p := range w.begun {
			w.total += p.n
			p.want = answer{value: w.total}
		}
	}
	w.begun = nil
	w.next()
}

// check compares the answers of the callers of a finished batch with the expected ones.
func check(t *rapid.T, batch []*pending) {
	for _, p := range batch {
		got := <-p.answer
		p.cancel()
		var pe *actor.PanicError
		switch {
		case p.gone:
			if !errors.Is(got.err, context.Canceled) {
				t.Fatalf("the context of the caller of %d ended, and it got %+v", p.n, got)
			}
		case p.want.err != nil:
			if !errors.As(got.err, &pe) {
				t.Fatalf("the caller of %d got %+v, want a PanicError", p.n, got)
			}
		case got != p.want:
			t.Fatalf("the caller of %d got %+v, want %+v", p.n, got, p.want)
		}
	}
}

func TestActorAgreesWithModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The wrapper hides the test's Deadline, which a bubble does not allow.
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			w := &twin{mailbox: rapid.IntRange(1, 6).Draw(t, "mailbox"), maxBatch: rapid.IntRange(1, 4).Draw(t, "max batch")}
			gate, over := make(chan struct{}), make(chan struct{})
			a := actor.Start(actor.Config[int, int]{
				Mailbox: w.mailbox, MaxBatch: w.maxBatch, Logger: discard, Backoff: actor.Backoff{Max: 100 * time.Millisecond},
				New: func() handler {
					inner := bomb()
					return func(ctx context.Context, batch []int) []actor.Result[int] {
						select {
						case <-gate:
						case <-over:
						}
						return inner(ctx, batch)
					}
				},
			})
			defer func() { // also when the check failed
				close(over)
				_ = a.Stop(context.Background())
			}()
			release := func() {
				batch := w.begun
				if len(batch) == 0 {
					return
				}
				gate <- struct{}{}
				time.Sleep(time.Second) // fake time: longer than any back-off
				synctest.Wait()
				w.finish()
				check(t, batch)
			}
			t.Repeat(map[string]func(*rapid.T){
				"ask": func(t *rapid.T) {
					n := rapid.IntRange(-1, 9).Draw(t, "n")
					ctx, cancel := context.WithCancel(context.Background())
					p := &pending{n: n, cancel: cancel, answer: ask(ctx, a, n)}
					synctest.Wait()
					if len(w.waiting) == w.mailbox {
						if got := <-p.answer; !errors.Is(got.err, actor.ErrBusy) {
							t.Fatalf("full mailbox: got %+v, want ErrBusy", got)
						}
						cancel()
						return
					}
					w.waiting = append(w.waiting, p)
					if len(w.begun) == 0 {
						w.next()
					}
				},
				"cancel a caller": func(t *rapid.T) {
					if all := append(slices.Clone(w.begun), w.waiting...); len(all) > 0 {
						p := rapid.SampledFrom(all).Draw(t, "who")
						p.gone = true
						p.cancel()
						synctest.Wait()
					}
				},
				"finish": func(*rapid.T) { release() },
				"": func(t *rapid.T) {
					if s := a.Stats(); s.Depth != len(w.waiting) || s.Restarts != w.restarts {
						t.Fatalf("Stats = %+v, the twin has %d waiting, %d restarts", s, len(w.waiting), w.restarts)
					}
				},
			})
			stopped := make(chan error, 1)
			go func() { stopped <- a.Stop(context.Background()) }()
			for len(w.begun) > 0 {
				release()
			}
			if err := <-stopped; err != nil {
				t.Fatalf("Stop: %v", err)
			}
		})
	})
}
