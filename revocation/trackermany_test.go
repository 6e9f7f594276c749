package revocation_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"tokenbroker/revocation"
)

// many is a tracker that follows several origins by the heartbeats of o0, which answers all catch-ups.
type many struct {
	t       *testing.T
	tracker *revocation.Tracker
	now     revocation.Instant
	heads   map[string]uint64
	listed  []revocation.OriginHead
}

func follow(t *testing.T, origins int) *many {
	m := &many{t: t, heads: make(map[string]uint64)}
	m.now.WallMS = 1_000_000
	for i := range origins {
		name := fmt.Sprint("o", i)
		m.heads[name] = uint64(i)
		m.listed = append(m.listed, revocation.OriginHead{Origin: name, Head: uint64(i)})
	}
	m.tracker = revocation.NewTracker(m.now, revocation.TrackerConfig{})
	eff := m.tracker.Tick(m.now)
	m.tracker.CatchUpDone(m.now, eff.CatchUp.ID, m.answer(true), nil)
	return m
}

func (m *many) answer(full bool) *revocation.Answer {
	return &revocation.Answer{
		V: 1, Store: "S", Origin: "o0", Up: m.now.Mono.Milliseconds(), AtMS: 500_000, Full: full, Origins: m.listed,
	}
}

func (m *many) advance(d time.Duration) {
	m.now.Mono += d
	m.now.WallMS += d.Milliseconds()
}

// beat processes a heartbeat of o0 with the present heads.
func (m *many) beat() revocation.Effects {
	return m.tracker.Message(m.now, m.now.Mono, revocation.Message{Heartbeat: &revocation.Heartbeat{
		V: 1, Store: "S", Origin: "o0", Head: m.heads["o0"], Up: m.now.Mono.Milliseconds(), AtMS: 500_000, Heads: m.heads,
	}})
}

func (m *many) batch(origin string, seq uint64) revocation.Effects {
	return m.tracker.Message(m.now, m.now.Mono, revocation.Message{Batch: &revocation.Batch{V: 1, Store: "S", Origin: origin, Seq: seq}})
}

func (m *many) wantAsOf(want time.Duration) {
	m.t.Helper()
	if s := m.tracker.State(m.now); !s.Proved || s.AsOf != want {
		m.t.Fatalf("proved %v as of %v, want %v", s.Proved, s.AsOf, want)
	}
}

// TestTrackerOfManyOrigins follows the most origins that a store may have. A tick allocates nothing, and a
// heartbeat nothing for each origin.
func TestTrackerOfManyOrigins(t *testing.T) {
	m := follow(t, revocation.MaxOrigins)
	m.advance(time.Second)
	m.beat()
	m.wantAsOf(time.Second)
	m.heads["o1023"]++
	m.advance(time.Second)
	m.beat()
	m.wantAsOf(time.Second)
	m.batch("o1023", 1024)
	m.wantAsOf(2 * time.Second)
	if n := testing.AllocsPerRun(100, func() {
		m.advance(time.Millisecond)
		m.tracker.Tick(m.now)
		m.tracker.State(m.now)
	}); n > 0 {
		t.Errorf("%v allocations in a tick", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		m.advance(time.Millisecond)
		m.beat()
	}); n > 4 { // the message, what waits
		t.Errorf("%v allocations in a heartbeat", n)
	}
	eff := m.tracker.Gap(m.now)
	if eff.CatchUp == nil {
		t.Fatal("a gap causes no catch-up")
	}
	// The position has at most 4 KiB, and names the origins with the most batches.
	if after := eff.CatchUp.After; len(after) > revocation.MaxPositionBytes || strings.Count(after, ",") < 400 || !strings.Contains(after, "o1023.1024,") {
		t.Errorf("the catch-up is after %s", after)
	}
}

// TestHeartbeatsWaitForBatches keeps the oldest of many heartbeats that wait, which are the next to be
// due, and the newest.
func TestHeartbeatsWaitForBatches(t *testing.T) {
	m := follow(t, 3)
	for i := range 40 {
		m.advance(time.Millisecond)
		m.heads = maps.Clone(m.heads) // the tracker keeps those of a heartbeat
		m.heads[[]string{"o1", "o2"}[i%2]]++
		m.beat()
	}
	for i := range 40 {
		m.batch([]string{"o1", "o2"}[i%2], uint64(i/2)+uint64(i%2)+2)
		want := i + 1
		if i >= 15 && i < 39 {
			want = 15
		}
		m.wantAsOf(time.Duration(want) * time.Millisecond)
	}
}

// TestTrackerLimitsTheOriginsThatHeartbeatsName follows twice as many origins as an answer may list. A
// heartbeat that names more proves nothing, and the origins that an answer ended make room.
func TestTrackerLimitsTheOriginsThatHeartbeatsName(t *testing.T) {
	m := follow(t, 1)
	for i := range 3000 {
		m.advance(time.Millisecond)
		m.heads = map[string]uint64{"o0": 0, fmt.Sprint("x", i): 0}
		m.beat()
		m.wantAsOf(time.Duration(min(i+1, 2047)) * time.Millisecond)
	}
	if n := len(m.tracker.Applied()); n != 2048 {
		t.Errorf("%d origins are followed", n)
	}
	m.advance(100 * time.Millisecond)
	eff := m.tracker.Gap(m.now)
	if len(eff.CatchUp.After) > 10 {
		t.Errorf("asked from %q", eff.CatchUp.After)
	}
	m.tracker.CatchUpDone(m.now, eff.CatchUp.ID, m.answer(false), nil)
	m.heads = map[string]uint64{"o0": 0, "new": 0}
	m.advance(time.Millisecond)
	m.beat()
	m.wantAsOf(m.now.Mono)
	if n := len(m.tracker.Applied()); n != 2 {
		t.Errorf("%d origins are followed", n)
	}
}

// TestTrackerForgetsEndedOrigins remembers some thousands of origins that answers have ended, so that
// replayed heads do not name them again, and not more.
func TestTrackerForgetsEndedOrigins(t *testing.T) {
	m := follow(t, 1)
	name := func(first string) {
		m.advance(time.Second)
		m.heads = map[string]uint64{"o0": 0}
		for i := range 1023 {
			m.heads[fmt.Sprint(first, i)] = 0
		}
		m.beat()
	}
	for round := range 5 {
		if name("r0-"); round > 0 && len(m.tracker.Applied()) != 1 {
			t.Fatalf("after %d rounds an ended origin is followed again", round)
		}
		name(fmt.Sprintf("r%d-", round))
		eff := m.tracker.Gap(m.now)
		m.tracker.CatchUpDone(m.now, eff.CatchUp.ID, m.answer(false), nil)
	}
	if name("r0-"); len(m.tracker.Applied()) == 1 {
		t.Error("after 5 rounds of 1,023 origins all of them are remembered")
	}
}
