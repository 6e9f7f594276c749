package keyring_test

import (
	"testing"
	"time"

	"tokenbroker/keyring"
)

func TestALongerTokenLifeIsPublishedBeforeItIsSigned(t *testing.T) {
	const short, long = 5 * time.Minute, 10 * time.Minute
	clock, store := newClock(), &memStore{}
	ring := open(t, rotating(t, store, clock, nil))
	expect := func(ring *keyring.Keyring, want, publish, sign, next time.Duration) {
		t.Helper()
		gotPublish, gotSign, at, err := ring.TokenLife(t.Context(), want)
		var wantAt time.Time
		if next != 0 {
			wantAt = clock.now().Add(next)
		}
		if err != nil || gotPublish != publish || gotSign != sign || !at.Equal(wantAt) {
			t.Fatalf("TokenLife(%s) = %s, %s, %s, %v; want %s, %s, %s", want, gotPublish, gotSign, at, err, publish, sign, wantAt)
		}
	}
	expect(ring, short, short, short, 0)
	expect(ring, long, long, short, readyAfter)
	clock.pass(readyAfter - time.Second)
	expect(ring, long, long, short, time.Second)
	// A restart proves nothing of what was published before it.
	ring = open(t, rotating(t, store, clock, nil))
	expect(ring, long, long, short, readyAfter)
	clock.pass(readyAfter)
	expect(ring, long, long, long, 0)

	// Shorter: signed at once, published when the long tokens have expired.
	dead := long + time.Minute + 30*time.Second
	expect(ring, short, long, short, dead)
	clock.pass(dead - time.Second)
	expect(ring, short, long, short, time.Second)
	expect(ring, long, long, long, 0) // and back: long tokens again
	expect(ring, short, long, short, dead)
	clock.pass(dead)
	expect(ring, short, short, short, 0)
	expect(open(t, rotating(t, store, clock, nil)), short, short, short, 0)

	if _, _, _, err := ring.TokenLife(t.Context(), 1500*time.Millisecond); err == nil {
		t.Error("a life of one and a half seconds was accepted")
	}
}

// The life is in the discovery document, whose cache life is not that of the JWK set.
func TestALongerTokenLifeIsPublishedForFiveMinutesWithAShortCache(t *testing.T) {
	const short, long = 5 * time.Minute, 10 * time.Minute
	clock := newClock()
	cfg := rotating(t, &memStore{}, clock, nil)
	cfg.JWKSMaxAge = 10 * time.Second
	ring := open(t, cfg)
	for _, step := range []struct{ pass, want, sign time.Duration }{
		{0, short, short}, {0, long, short}, {5 * time.Minute, long, short}, {30 * time.Second, long, long},
	} {
		clock.pass(step.pass)
		if _, sign, _, err := ring.TokenLife(t.Context(), step.want); err != nil || sign != step.sign {
			t.Fatalf("after %s TokenLife signs %s, %v; want %s", clock.now().Sub(testTime), sign, err, step.sign)
		}
	}
}
