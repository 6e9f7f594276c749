package keyring_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

func compromise(t *testing.T, ring *keyring.Keyring, kid string) keyring.Compromised {
	t.Helper()
	c, err := ring.Compromise(t.Context(), kid)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACompromisedKeyIsReplacedAtOnce(t *testing.T) {
	for _, purpose := range []lifecycle.Purpose{"access", "feed"} {
		t.Run(string(purpose), func(t *testing.T) {
			store := &memStore{}
			cfg := rotating(t, store, newClock(), nil)
			ring := open(t, cfg)
			old, next := find(t, ring, purpose, "active"), find(t, ring, purpose, "next")
			masters := ring.Keys("refresh")
			c := compromise(t, ring, old.KID)
			if !c.Changed || c.Key.State != lifecycle.StateCompromised || c.Successor.KID != next.KID || c.Successor.State != lifecycle.StateActive {
				t.Errorf("compromised = %+v", c)
			}
			if fresh := find(t, ring, purpose, "next"); fresh.KID == "" || fresh.KID == next.KID {
				t.Error("no new next key was made")
			}
			for _, r := range []*keyring.Keyring{ring, open(t, cfg)} {
				if strings.Contains(string(r.JWKS().Body)+string(r.FeedJWKS().Body), old.KID) {
					t.Error("the key is still published")
				}
				if _, _, ok := r.Verifier(old.KID); ok {
					t.Error("the key still verifies")
				}
				if !cmp.Equal(r.Compromised(), []string{old.KID}) {
					t.Errorf("compromised kids = %v", r.Compromised())
				}
				if !cmp.Equal(r.Keys("refresh"), masters) {
					t.Error("the master secret changed: users would be logged out")
				}
			}
			rev := store.rev
			if again := compromise(t, ring, old.KID); again.Changed || again.Key.KID != old.KID || store.rev != rev {
				t.Errorf("a second Compromise = %+v", again)
			}
		})
	}
}

func TestKeysThatDoNotSignCanBeCompromised(t *testing.T) {
	clock := newClock()
	ring := open(t, rotating(t, &memStore{}, clock, nil))
	signs, next := find(t, ring, "access", "active"), find(t, ring, "access", "next")
	rotate(t, ring, "access", "") // scheduled to next
	clock.pass(time.Minute)
	c := compromise(t, ring, next.KID)
	if find(t, ring, "access", "active").KID != signs.KID {
		t.Fatal("the active key was replaced because its next key was compromised")
	}
	fresh := find(t, ring, "access", "next")
	if c.Successor.KID != fresh.KID || fresh.KID == next.KID {
		t.Errorf("compromised = %+v", c)
	}
	if want := clock.now().Add(readyAfter); fresh.NextStep != lifecycle.StepSigns || !fresh.NextStepAt.Equal(want) {
		t.Errorf("the requested rotation was forgotten: %+v", fresh)
	}
	clock.pass(readyAfter)
	applyDue(t, ring)
	if find(t, ring, "access", "active").KID != fresh.KID {
		t.Fatal("the new next key did not become active")
	}
	// signs is retiring now.
	compromise(t, ring, signs.KID)
	if _, _, ok := ring.Verifier(signs.KID); ok {
		t.Error("a compromised key that was retiring still verifies")
	}
	if _, err := ring.Compromise(t.Context(), find(t, ring, "master", "active").KID); !errors.Is(err, lifecycle.ErrUnknownKey) {
		t.Errorf("Compromise of a master secret = %v", err)
	}
}

func TestTheHistoryIsBoundedAndCompromisedKeysStayRefused(t *testing.T) {
	ring := open(t, rotating(t, &memStore{}, newClock(), nil))
	first := find(t, ring, "feed", "active").KID
	for range 40 {
		compromise(t, ring, find(t, ring, "feed", "active").KID)
		applyDue(t, ring)
	}
	if n := len(ring.List()); n > 40 {
		t.Errorf("%d keys are listed", n)
	}
	if n := len(ring.Compromised()); n != 40 {
		t.Errorf("%d compromised kids are remembered, want all 40", n)
	}
	if c := compromise(t, ring, first); c.Changed || c.Key.KID != first || c.Key.State != lifecycle.StateCompromised {
		t.Errorf("a key that was removed from the list: %+v", c)
	}
}
