package keyring_test

import (
	"testing"
	"time"

	"tokenbroker/keyring/lifecycle"
)

func TestAnotherAlgorithmWaitsUntilItsKeyIsReady(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	clock.pass(readyAfter)
	applyDue(t, ring) // the ES256 next key is ready, and must not sign
	old, unused := find(t, ring, "access", "active"), find(t, ring, "access", "next")
	r := rotate(t, ring, "access", lifecycle.EdDSA)
	if !r.Changed || !r.Scheduled || r.Next.Algorithm != lifecycle.EdDSA || r.Active.KID != old.KID {
		t.Fatalf("rotation = %+v", r)
	}
	if infoOf(ring, unused.KID).State != lifecycle.StateRetired {
		t.Error("the next key of the old algorithm is still scheduled")
	}
	for _, same := range []lifecycle.Algorithm{lifecycle.EdDSA, ""} {
		if again := rotate(t, ring, "access", same); again.Changed || again.Next.KID != r.Next.KID {
			t.Errorf("requested again as %q: %+v", same, again)
		}
	}
	clock.pass(readyAfter - time.Second)
	applyDue(t, ring)
	if find(t, ring, "access", "active").KID != old.KID {
		t.Fatal("the new key signs before it is ready")
	}
	clock.pass(time.Second)
	applyDue(t, ring)
	if got := find(t, ring, "access", "active"); got.KID != r.Next.KID {
		t.Fatalf("the key that signs has the algorithm %s", got)
	}
	if next := find(t, ring, "access", "next"); next.Algorithm != lifecycle.EdDSA {
		t.Errorf("the key after it has the algorithm %s", next.Algorithm)
	}
	token, err := ring.SignAccessToken(t.Context(), []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	verifyAccess(t, ring, token)
}

func TestAnotherConfiguredAlgorithmSchedulesARotation(t *testing.T) {
	clock, store := newClock(), &memStore{}
	cfg := rotating(t, store, clock, nil)
	open(t, cfg)
	cfg.Algorithm = lifecycle.EdDSA
	ring := open(t, cfg)
	if find(t, ring, "access", "next").Algorithm != lifecycle.ES256 {
		t.Error("Open changed the record")
	}
	applyDue(t, ring)
	next := find(t, ring, "access", "next")
	if next.Algorithm != lifecycle.EdDSA || next.NextStep != lifecycle.StepSigns || !next.NextStepAt.Equal(clock.now().Add(readyAfter)) {
		t.Fatalf("next = %+v", next)
	}
	clock.pass(readyAfter)
	applyDue(t, ring)
	if got := find(t, ring, "access", "active"); got.KID != next.KID {
		t.Fatalf("the key that signs has the algorithm %s", got)
	}
	// A manual rotation back to the old algorithm is not undone by the next start with the same configuration.
	rotate(t, ring, "access", lifecycle.ES256)
	again := open(t, cfg)
	clock.pass(readyAfter)
	applyDue(t, again)
	clock.pass(readyAfter)
	applyDue(t, again)
	if got := find(t, again, "access", "active").Algorithm; got != lifecycle.ES256 {
		t.Errorf("the key that signs has the algorithm %s: a restart undid an operator's rotation", got)
	}
}
