package keyring_test

import (
	"testing"
	"time"

	"tokenbroker/keyring/lifecycle"
)

func TestAnotherAlgorithmIsARotationLikeAnyOther(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	clock.pass(ripening)
	advance(t, ring) // the ES256 next key is ripe, and must not sign
	old, unused := find(t, ring, "access", "active"), find(t, ring, "access", "next")
	r := rotate(t, ring, "access", lifecycle.EdDSA)
	if !r.Changed || !r.Scheduled || r.Next.Algorithm != lifecycle.EdDSA || r.Active.KID != old.KID {
		t.Fatalf("rotation = %+v", r)
	}
	if infoOf(ring, unused.KID).State != lifecycle.StateRetired {
		t.Error("the next key of the old algorithm still waits")
	}
	for _, same := range []lifecycle.Algorithm{lifecycle.EdDSA, ""} {
		if again := rotate(t, ring, "access", same); again.Changed || again.Next.KID != r.Next.KID {
			t.Errorf("asked for again as %q: %+v", same, again)
		}
	}
	clock.pass(ripening - time.Second)
	advance(t, ring)
	if find(t, ring, "access", "active").KID != old.KID {
		t.Fatal("the new key signs before it is ripe")
	}
	clock.pass(time.Second)
	advance(t, ring)
	if got := find(t, ring, "access", "active"); got.KID != r.Next.KID {
		t.Fatalf("%s signs", got)
	}
	if next := find(t, ring, "access", "next"); next.Algorithm != lifecycle.EdDSA {
		t.Errorf("the key after it is of %s", next.Algorithm)
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
	advance(t, ring)
	next := find(t, ring, "access", "next")
	if next.Algorithm != lifecycle.EdDSA || next.NextStep != lifecycle.StepSigns || !next.NextStepAt.Equal(clock.now().Add(ripening)) {
		t.Fatalf("next = %+v", next)
	}
	clock.pass(ripening)
	advance(t, ring)
	if got := find(t, ring, "access", "active"); got.KID != next.KID {
		t.Fatalf("%s signs", got)
	}
	// By hand it goes back, and the next start with the same configuration leaves it so.
	rotate(t, ring, "access", lifecycle.ES256)
	again := open(t, cfg)
	clock.pass(ripening)
	advance(t, again)
	clock.pass(ripening)
	advance(t, again)
	if got := find(t, again, "access", "active").Algorithm; got != lifecycle.ES256 {
		t.Errorf("%s signs: a restart undid what an operator did", got)
	}
}
