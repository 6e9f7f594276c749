package keyring_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// action is one event of a schedule, such as a rotation or an outage, and the time that passes after it.
type action struct {
	what      string
	broker    int
	purpose   lifecycle.Purpose
	algorithm lifecycle.Algorithm
	pick      int
	jump      time.Duration
	then      time.Duration
}

func (d action) String() string {
	return fmt.Sprintf("%s broker %d %s %s %d jump %s, then %s", d.what, d.broker, d.purpose, d.algorithm, d.pick, d.jump, d.then)
}

// actionsOf returns a generator of actions of these kinds.
func actionsOf(kinds ...string) *rapid.Generator[action] {
	return rapid.Custom(func(t *rapid.T) action { return drawAction(t, kinds) })
}

func drawAction(t *rapid.T, kinds []string) action {
	return action{
		what:      rapid.SampledFrom(kinds).Draw(t, "what"),
		broker:    rapid.IntRange(0, 1).Draw(t, "broker"),
		purpose:   rapid.SampledFrom([]lifecycle.Purpose{"access", "access", "access", "feed", "master"}).Draw(t, "purpose"),
		algorithm: rapid.SampledFrom([]lifecycle.Algorithm{"", "", "ES256", "EdDSA"}).Draw(t, "algorithm"),
		pick:      rapid.IntRange(0, 9).Draw(t, "pick"),
		jump:      rapid.SampledFrom([]time.Duration{time.Hour, -time.Hour, 10 * time.Minute, -10 * time.Minute, 365 * 24 * time.Hour, -365 * 24 * time.Hour}).Draw(t, "jump"),
		then:      rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Second, time.Minute, 5 * time.Minute, 6 * time.Minute, 20 * time.Minute, 70 * time.Minute}).Draw(t, "then"),
	}
}

// TestAnySchedule: over random schedules of rotations, compromises, clock jumps, restarts and
// outages, with two brokers on one store, one key of each purpose is active, no token that
// is valid fails at a service that caches the JWK set for its full life, and a compromised
// key is never published or accepted again. On a shared store, single brokers are also cut off from the
// store: they stop, and a broker that has the store signs.
func TestAnySchedule(t *testing.T) {
	kinds := []string{"rotate", "rotate", "rotate", "compromise", "jump", "restart", "stop", "outage", "repair", "wait"}
	t.Run("a store that all brokers reach", func(t *testing.T) { anySchedule(t, false, kinds...) })
	t.Run("a shared store", func(t *testing.T) { anySchedule(t, true, append(kinds, "cut", "cut", "reconnect", "reconnect")...) })
}

func anySchedule(t *testing.T, shared bool, kinds ...string) {
	rotated, actions := 0, actionsOf(kinds...)
	rapid.Check(t, func(rt *rapid.T) {
		schedule := rapid.SliceOfN(actions, 1, 14).Draw(rt, "schedule")
		var fault string
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, shared)
			for _, d := range schedule {
				w.do(d)
				w.pass(d.then)
			}
			for i := range w.brokers {
				w.do(action{what: "reconnect", broker: i})
			}
			w.do(action{what: "repair"})
			w.pass(20 * time.Minute)
			for i := range w.brokers {
				w.end(i)
			}
			fault = w.fault
			rotated += len(w.seen) - 1
		})
		if fault != "" {
			rt.Fatal(fault)
		}
	})
	if rotated < 20 {
		t.Errorf("only %d keys signed after another one: the schedules have too few rotations", rotated)
	}
}

func (w *world) do(d action) {
	b := w.brokers[d.broker]
	switch d.what {
	case "jump":
		w.mu.Lock()
		w.offset += d.jump
		w.mu.Unlock()
	case "outage":
		w.connect(func() { w.store.set(true) })
	case "repair":
		w.connect(func() { w.store.set(false) })
		w.up = time.Now()
	case "cut":
		w.connect(func() { w.links[d.broker].cut.Store(true) })
	case "reconnect":
		w.connect(func() { w.links[d.broker].cut.Store(false) })
		w.up = time.Now()
	case "stop", "restart":
		w.end(d.broker)
		if d.what == "restart" {
			w.start(d.broker)
		}
	case "rotate":
		if b != nil {
			w.rotate(b.ring, d)
		}
	case "compromise":
		if b != nil {
			w.compromise(b.ring, d.pick)
		}
	}
}

// connect changes links, and notes which of them are up or down from now on.
func (w *world) connect(change func()) {
	var before [2]bool
	for i, l := range w.links {
		before[i] = l.isDown()
	}
	change()
	for i, l := range w.links {
		if l.isDown() != before[i] {
			w.since[i] = time.Now()
		}
	}
}

func (w *world) rotate(ring *keyring.Keyring, d action) {
	if d.purpose != lifecycle.PurposeAccess {
		d.algorithm = ""
	}
	r, err := ring.Rotate(w.t.Context(), d.purpose, d.algorithm)
	switch {
	case errors.Is(err, errDown) || errors.Is(err, lifecycle.ErrClockBehind) || errors.Is(err, lifecycle.ErrTooManyMasters):
		return
	case err != nil:
		w.failf("Rotate: %v", err)
		return
	}
	again, err := ring.Rotate(w.t.Context(), d.purpose, d.algorithm)
	// Without a change the first may have lost against another broker's rotation, of another
	// algorithm perhaps: then the second request is a rotation of its own.
	if err == nil && r.Changed && r.Scheduled && (again.Changed || again.Next.KID != r.Next.KID) {
		w.failf("asking twice is two rotations: %+v, then %+v", r, again)
	}
}

func (w *world) compromise(ring *keyring.Keyring, pick int) {
	var candidates []lifecycle.KeyInfo
	for _, k := range ring.List() {
		if k.Purpose != lifecycle.PurposeMaster {
			candidates = append(candidates, k)
		}
	}
	c, err := ring.Compromise(w.t.Context(), candidates[pick%len(candidates)].KID)
	switch {
	case errors.Is(err, errDown):
		return
	case err != nil:
		w.failf("Compromise: %v", err)
		return
	}
	if c.Changed {
		w.dead[c.Key.KID] = time.Now()
		w.exempt[c.Successor.KID] = time.Now().Add(readyAfter)
	}
	if _, _, ok := ring.Verifier(c.Key.KID); ok || strings.Contains(string(ring.JWKS().Body)+string(ring.FeedJWKS().Body), c.Key.KID) {
		w.failf("the compromised key %s is still there", c.Key.KID)
	}
}
