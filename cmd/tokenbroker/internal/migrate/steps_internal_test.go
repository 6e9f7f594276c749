package migrate

import (
	"errors"
	"testing"

	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

func TestAMigration(t *testing.T) {
	pairs(t, func(t *testing.T, fromSingle, toSingle bool) {
		w := newWorld(t, fromSingle, toSingle)
		want := w.contents(w.from)
		done := w.mustMove(want)
		if done.Users != 120 || done.Sessions != 120 || done.Written < 360 || len(done.Digest) != 64 || done.Earlier {
			t.Errorf("the result is %+v", done)
		}
		if again := w.mustMove(want); !again.Earlier {
			t.Errorf("the result of the same command again is %+v", again)
		}
		// The records return to the first store, which still has old ones.
		w.from, w.to = w.to, w.from
		w.mustMove(want)
		if done, err := w.migrate(); err != nil || !done.Earlier {
			t.Errorf("the return again: %+v, %v", done, err)
		}
		w.from, w.to = w.to, w.from
		w.mustMove(want)
	})
}

// TestAKilledMigration ends the process at each of its commits: before the commit, and before its answer.
func TestAKilledMigration(t *testing.T) {
	pairs(t, func(t *testing.T, fromSingle, toSingle bool) {
		for _, last := range []memstore.Fault{memstore.Refuse, memstore.LoseAnswer} {
			for n, finished := 1, false; !finished; n++ {
				w := newWorld(t, fromSingle, toSingle)
				want := w.contents(w.from)
				w.dies, w.last = n, last
				_, err := w.migrate()
				if finished = !w.dead; finished {
					if n < 8 {
						t.Errorf("the migration made %d commits", n-1)
					}
					break
				}
				source, target := w.startable(w.from), w.startable(w.to)
				if source && target {
					t.Fatalf("killed at commit %d (%v): brokers start with both stores", n, last)
				}
				if !source && !target && err == nil {
					t.Fatalf("killed at commit %d (%v): no error, and no store starts", n, last)
				}
				w.dies = 0
				if n%3 == 0 && w.startable(w.from) { // the operator returns to the source for some time
					w.use(w.from, func(store.Store, *ledger.Ledger) {})
				}
				w.mustMove(want)
			}
		}
	})
}

// TestAMigrationKilledBetweenItsSteps ends the process before each of its steps.
func TestAMigrationKilledBetweenItsSteps(t *testing.T) {
	pairs(t, func(t *testing.T, fromSingle, toSingle bool) {
		for _, step := range []string{"join source", "join target", "claim", "clear", "copy", "compare", "mark", "release"} {
			w := newWorld(t, fromSingle, toSingle)
			want := w.contents(w.from)
			reached := false
			w.steps = func(s string) {
				if s == step {
					reached, w.dead = true, true
				}
			}
			if _, err := w.migrate(); err == nil || !reached {
				t.Fatalf("killed at %q: reached %t, %v", step, reached, err)
			}
			if w.startable(w.from) && w.startable(w.to) {
				t.Fatalf("killed at %q: brokers start with both stores", step)
			}
			w.steps = nil
			w.mustMove(want)
		}
	})
}

// TestAFailedMigrationReleasesTheSource lets an engine fail in each step: unless the source is marked, brokers start with it.
func TestAFailedMigrationReleasesTheSource(t *testing.T) {
	failure := errors.New("failure")
	pairs(t, func(t *testing.T, fromSingle, toSingle bool) {
		for _, step := range []string{"join source", "join target", "claim", "clear", "copy", "compare", "mark", "release"} {
			w := newWorld(t, fromSingle, toSingle)
			want := w.contents(w.from)
			cfg := w.config()
			cfg.at = func(s string) error {
				if s == step {
					return failure
				}
				return nil
			}
			p, err := Prepare(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Run(t.Context())
			unfinished := step == "mark" || step == "release"
			incomplete := step == "clear" || step == "copy" || step == "compare"
			if !errors.Is(err, failure) || errors.Is(err, ErrUnfinished) != unfinished || errors.Is(err, ErrIncomplete) != incomplete {
				t.Errorf("failed at %q: %v", step, err)
			}
			if !unfinished && !w.startable(w.from) || w.startable(w.to) {
				t.Errorf("failed at %q: startable: source %t, target %t", step, w.startable(w.from), w.startable(w.to))
			}
			w.mustMove(want)
		}
	})
}

// TestAThirdStoreIsNotTakenForTheTarget lets a migration to one store fail and moves the records to another.
func TestAThirdStoreIsNotTakenForTheTarget(t *testing.T) {
	w := newWorld(t, false, false)
	want := w.contents(w.from)
	first := w.to
	w.steps = func(step string) { w.dead = step == "compare" }
	if _, err := w.migrate(); err == nil {
		t.Fatal("no error")
	}
	w.steps = nil
	w.to = &place{engine: memstore.NewEngine(nil), name: "the second target"}
	w.mustMove(want)
	w.to = first
	if _, err := w.migrate(); !errors.Is(err, origins.ErrMoved) || w.startable(first) {
		t.Errorf("to the first target: %v, startable %t", err, w.startable(first))
	}
}

// TestCancel gives up migrations that were killed.
func TestCancel(t *testing.T) {
	for _, step := range []string{"claim", "copy", "mark", "release", ""} {
		w := newWorld(t, false, false)
		want := w.contents(w.from)
		w.steps = func(s string) { w.dead = w.dead || s == step }
		if _, err := w.migrate(); (err == nil) != (step == "") {
			t.Fatalf("killed at %q: %v", step, err)
		}
		w.steps, w.dead = nil, false
		marked := step == "release" || step == ""
		err := Cancel(t.Context(), w.config())
		if marked != errors.Is(err, ErrNoMigration) || !marked && err != nil {
			t.Errorf("killed at %q: %v", step, err)
		}
		if w.startable(w.from) == marked || step != "" && w.startable(w.to) {
			t.Errorf("killed at %q: startable: source %t, target %t", step, w.startable(w.from), w.startable(w.to))
		}
		back := w.config()
		back.From = back.To
		if err := Cancel(t.Context(), back); !errors.Is(err, ErrNoMigration) && (step != "claim" || err != nil) {
			t.Errorf("the target of a migration killed at %q: %v", step, err)
		}
		w.mustMove(want)
	}
}
