package keyring_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// clock is a wall clock that can be stepped, and a monotonic clock that cannot.
type clock struct {
	mu   sync.Mutex // guards wall and mono
	wall time.Time
	mono time.Duration
}

func newClock() *clock { return &clock{wall: testTime} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *clock) monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono
}

// pass advances both clocks; step moves only the wall clock.
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono+d
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

const (
	tokenLife = 5 * time.Minute
	// readyAfter is how long a key is published before it is ready: the default cache life and
	// a margin of a tenth.
	readyAfter = 5*time.Minute + 30*time.Second
	// retiringFor is how long a retiring key stays published: token life, leeway, margin.
	retiringFor = tokenLife + time.Minute + 30*time.Second
	month       = 30 * 24 * time.Hour
	// margin is that of the default cache life.
	margin = 30 * time.Second
)

// rotating returns a configuration with scheduled rotation by clock; every change is added to changes.
func rotating(t testing.TB, store keyring.Store, clock *clock, changes *[]string) keyring.Config {
	cfg := config(t, store)
	cfg.Now, cfg.Mono = clock.now, clock.monotonic
	cfg.TokenLife, cfg.RotateEvery = tokenLife, month
	if changes != nil {
		cfg.OnChange = func(c lifecycle.Change) { *changes = append(*changes, string(c.Key.Purpose)+" "+c.What) }
	}
	return cfg
}

func applyDue(t testing.TB, ring *keyring.Keyring) time.Time {
	t.Helper()
	_, next, err := ring.ApplyDue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func rotate(t testing.TB, ring *keyring.Keyring, purpose lifecycle.Purpose, alg lifecycle.Algorithm) lifecycle.Rotation {
	t.Helper()
	r, err := ring.Rotate(t.Context(), purpose, alg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// find returns the only key of that purpose and state, or the zero KeyInfo if there is none.
func find(t testing.TB, ring *keyring.Keyring, purpose lifecycle.Purpose, state lifecycle.State) lifecycle.KeyInfo {
	t.Helper()
	var found []lifecycle.KeyInfo
	for _, k := range ring.List() {
		if k.Purpose == purpose && k.State == state {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return lifecycle.KeyInfo{}
	case 1:
		return found[0]
	}
	t.Fatalf("%d %s keys are %s: %v", len(found), purpose, state, found)
	return lifecycle.KeyInfo{}
}

func infoOf(ring *keyring.Keyring, kid string) lifecycle.KeyInfo {
	all := ring.List()
	if i := slices.IndexFunc(all, func(k lifecycle.KeyInfo) bool { return k.KID == kid }); i >= 0 {
		return all[i]
	}
	return lifecycle.KeyInfo{}
}
