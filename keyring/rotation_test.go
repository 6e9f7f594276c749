package keyring_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

func TestAKeyPassesThroughItsStates(t *testing.T) {
	clock, changes := newClock(), []string(nil)
	store := &memStore{}
	ring := open(t, rotating(t, store, clock, &changes))
	old, next := find(t, ring, "access", "active"), find(t, ring, "access", "next")

	r := rotate(t, ring, "access", "")
	if !r.Scheduled || !r.Changed || r.Active.KID != old.KID || r.Next.KID != next.KID || !r.Signs.Equal(testTime.Add(readyAfter)) {
		t.Fatalf("requested while the next key is not ready: %+v", r)
	}
	clock.pass(time.Minute)
	if again := rotate(t, ring, "access", ""); again.Changed || !again.Scheduled || !again.Signs.Equal(r.Signs) {
		t.Errorf("the second request: %+v", again)
	}
	clock.pass(readyAfter - time.Minute - time.Second)
	if due := applyDue(t, ring); !due.Equal(r.Signs) {
		t.Errorf("next change due at %s, want %s", due, r.Signs)
	}
	if got := find(t, ring, "access", "active").KID; got != old.KID {
		t.Fatal("the next key signs before it is ready")
	}
	clock.pass(time.Second)
	applyDue(t, ring)
	active, retiring := find(t, ring, "access", "active"), find(t, ring, "access", "retiring")
	if active.KID != next.KID || retiring.KID != old.KID {
		t.Fatalf("active is %s, retiring %s", active, retiring)
	}
	if want := clock.now().Add(tokenLife + time.Minute); !retiring.LastTokenDies.Equal(want) {
		t.Errorf("the last token expires at %s, want %s", retiring.LastTokenDies, want)
	}
	if retiring.NextStep != lifecycle.StepRemoved || !retiring.NextStepAt.Equal(clock.now().Add(retiringFor)) {
		t.Errorf("the retiring key %s at %s", retiring.NextStep, retiring.NextStepAt)
	}
	clock.pass(retiringFor - time.Second)
	applyDue(t, ring)
	if _, _, ok := ring.Verifier(old.KID); !ok {
		t.Error("the old key left the JWKS before its last token had expired")
	}
	clock.pass(time.Second)
	applyDue(t, ring)
	if _, _, ok := ring.Verifier(old.KID); ok || infoOf(ring, old.KID).State != lifecycle.StateRetired {
		t.Error("the old key is still published")
	}
	want := []string{"access key_scheduled", "access key_retiring", "access key_activated", "access key_made", "access key_retired"}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if n := strings.Count(string(store.data), `"private"`); n != 4 {
		t.Errorf("%d private keys are kept, want those of the active and the next key", n)
	}
}

func TestAReadyKeySignsAtOnce(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	next := find(t, ring, "feed", "next")
	clock.pass(readyAfter)
	r := rotate(t, ring, "feed", "")
	if r.Scheduled || !r.Changed || r.Active.KID != next.KID || !r.Signs.Equal(clock.now()) {
		t.Errorf("rotation = %+v", r)
	}
	if r.Next.KID == "" || r.Next.KID == next.KID {
		t.Error("no new next key was made")
	}
}

func TestRotationOnSchedule(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	clock.pass(readyAfter)
	due := applyDue(t, ring)
	if early, late := testTime.Add(month*95/100), testTime.Add(month*105/100); due.Before(early) || due.After(late) {
		t.Fatalf("due %s, want within 5 %% of %s", due, testTime.Add(month))
	}
	first := find(t, ring, "access", "active")
	if first.NextStep != lifecycle.StepRetires || first.NextStepAt.Before(due) {
		t.Errorf("the active key %s at %s", first.NextStep, first.NextStepAt)
	}
	clock.pass(first.NextStepAt.Sub(clock.now()))
	applyDue(t, ring)
	if got := find(t, ring, "access", "active").KID; got == first.KID {
		t.Error("the key signs longer than scheduled")
	}
}

func TestTwoBrokersAtOnceRotateOnce(t *testing.T) {
	for name, ready := range map[string]bool{"ready": true, "not ready": false} {
		t.Run(name, func(t *testing.T) {
			clock, store := newClock(), &memStore{}
			cfg := rotating(t, store, clock, nil)
			rings := []*keyring.Keyring{open(t, cfg), open(t, cfg)}
			if ready {
				clock.pass(readyAfter)
			}
			applyDue(t, rings[0])
			applyDue(t, rings[1])
			before := find(t, rings[0], "access", "next")
			// Both read the record before either can write; a third write panics.
			var loaded, wg sync.WaitGroup
			loaded.Add(2)
			store.beforeSwap = func() { loaded.Done(); loaded.Wait() }
			results := make([]lifecycle.Rotation, 2)
			for i, ring := range rings {
				wg.Go(func() {
					var err error
					if results[i], err = ring.Rotate(t.Context(), "access", ""); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if results[0].Changed == results[1].Changed {
				t.Error("want one broker that rotated and one that found the rotation made")
			}
			if results[0].Active.KID != results[1].Active.KID || results[0].Next.KID != results[1].Next.KID ||
				!results[0].Signs.Equal(results[1].Signs) || results[0].Scheduled == ready {
				t.Errorf("the two brokers got different results:\n%+v\n%+v", results[0], results[1])
			}
			if signs := results[0].Active.KID == before.KID; signs != ready {
				t.Errorf("the next key signs: %t", signs)
			}
		})
	}
}

func TestInvalidRotationsAreRefused(t *testing.T) {
	ring := open(t, rotating(t, &memStore{}, newClock(), nil))
	before := ring.Snapshot()
	for _, tt := range []struct {
		purpose   lifecycle.Purpose
		algorithm lifecycle.Algorithm
	}{{"id", ""}, {"", ""}, {"access", "HS256"}, {"access", "none"}, {"feed", "ES256"}, {"master", "ES256"}} {
		if _, err := ring.Rotate(t.Context(), tt.purpose, tt.algorithm); err == nil {
			t.Errorf("Rotate(%q, %q) was accepted", tt.purpose, tt.algorithm)
		}
	}
	if _, err := ring.Compromise(t.Context(), "nobody"); !errors.Is(err, lifecycle.ErrUnknownKey) {
		t.Errorf("Compromise of an unknown key = %v", err)
	}
	if ring.Snapshot() != before {
		t.Error("something was changed")
	}
}
