package keyring_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring/lifecycle"
)

func TestTheMasterSecretRotatesWithAnOverlap(t *testing.T) {
	const margin, day = 30 * time.Second, 24 * time.Hour
	clock, changes := newClock(), []string(nil)
	cfg := rotating(t, &memStore{}, clock, &changes)
	cfg.RotateEvery, cfg.MasterLife = 0, 10*day
	ring := open(t, cfg)
	old := ring.Keys("refresh")[0]

	r := rotate(t, ring, "master", "")
	if !r.Changed || !r.Scheduled || !r.Signs.Equal(testTime.Add(margin)) || r.Next.Purpose != lifecycle.PurposeMaster {
		t.Fatalf("rotation = %+v", r)
	}
	if again := rotate(t, ring, "master", ""); again.Changed || again.Next.KID != r.Next.KID {
		t.Errorf("the second request: %+v", again)
	}
	keys := ring.Keys("refresh")
	if len(keys) != 2 || !cmp.Equal(keys[0], old) {
		t.Fatal("the new secret has to be accepted, and the old one to be used")
	}
	fresh := keys[1]
	clock.pass(margin)
	applyDue(t, ring)
	if keys := ring.Keys("refresh"); len(keys) != 2 || !cmp.Equal(keys[0], fresh) || !cmp.Equal(keys[1], old) {
		t.Fatal("the new secret has to be used, and the old one to be accepted")
	}
	clock.pass(10*day + time.Minute - time.Second)
	applyDue(t, ring)
	if len(ring.Keys("refresh")) != 2 {
		t.Error("the old secret was dropped while sessions may still use it")
	}
	clock.pass(time.Second)
	applyDue(t, ring)
	if keys := ring.Keys("refresh"); len(keys) != 1 || !cmp.Equal(keys[0], fresh) {
		t.Error("the old secret is still accepted")
	}
	want := []string{"master key_made", "master key_scheduled", "master master_rotated", "master master_dropped"}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestAClockJumpDropsNoMasterSecret(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	rotate(t, ring, "master", "")
	clock.pass(time.Minute)
	applyDue(t, ring)
	clock.step(365 * 24 * time.Hour)
	applyDue(t, ring)
	clock.pass(time.Hour)
	applyDue(t, ring)
	if n := len(ring.Keys("refresh")); n < 2 {
		t.Errorf("%d secrets are accepted an hour after a jump of a year", n)
	}
}

func TestMasterSecretsAreBounded(t *testing.T) {
	clock := newClock()
	cfg := rotating(t, &memStore{}, clock, nil)
	cfg.RotateEvery = 0
	ring := open(t, cfg)
	for range 40 {
		if _, err := ring.Rotate(t.Context(), "master", ""); errors.Is(err, lifecycle.ErrTooManyMasters) {
			if n := len(ring.Keys("refresh")); n != 32 {
				t.Errorf("%d secrets", n)
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
		clock.pass(time.Minute)
		applyDue(t, ring)
	}
	t.Error("the number of secrets is not bounded")
}
