package origins

import (
	"testing"
	"time"
)

func TestTheBestSampleOfAClock(t *testing.T) {
	for _, tt := range []struct {
		name    string
		samples []sample // seconds
		want    sample
	}{
		{"one", []sample{{0, 2}}, sample{0, 2}},
		{"the most certain", []sample{{0, 3}, {1, 2}, {0, 4}}, sample{1, 2}},
		{"the newest of equals", []sample{{0, 2}, {1, 3}}, sample{1, 3}},
		{"one that disagrees is not believed", []sample{{0, 2}, {-9, -8}}, sample{0, 2}},
		{"nor one that disagrees and one that agrees", []sample{{0, 2}, {-9, -8}, {0, 3}, {-9, -8}}, sample{0, 2}},
		{"two that disagree with it and not with each other", []sample{{0, 2}, {9, 11}, {9, 12}}, sample{9, 11}},
		{"an old one is forgotten", []sample{{1, 2}, {0, 4}, {0, 4}, {0, 4}, {0, 3}}, sample{0, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p peer
			for _, s := range tt.samples {
				p.add(sample{s.low * time.Second, s.high * time.Second})
			}
			best, ok := p.best()
			if want := (sample{tt.want.low * time.Second, tt.want.high * time.Second}); !ok || best != want {
				t.Errorf("best %v, want %v", best, want)
			}
		})
	}
}

// The records of one name are one vote, which is that of the newest: an old one may be that of a run that crashed.
func TestABrokerHasOneVote(t *testing.T) {
	wall := time.UnixMilli(1_800_000_000_000)
	own := Origin{ID: "own", Record: Record{Name: "a", Joined: 1}}
	others := []Origin{
		{ID: "b2", Record: Record{Name: "b", Joined: 5}}, {ID: "b1", Record: Record{Name: "b", Joined: 2}}, {ID: "b0", Record: Record{Name: "b", Joined: 1}},
		{ID: "c", Record: Record{Name: "c", Joined: 3}}, {ID: "a0", Record: Record{Name: "a", Joined: 0}},
	}
	skews := []time.Duration{0, time.Hour, time.Hour, 100 * time.Millisecond, time.Hour}
	g := guard{grace: 10 * time.Second}
	for i := range 5 {
		now := instant{time.Duration(i) * time.Second, wall.Add(time.Duration(i) * time.Second)}
		v := &View{Read: now.mono, done: now.mono}
		for j, o := range others {
			o.N, o.ClockMS = uint64(i), now.wall.Add(skews[j]).UnixMilli()
			v.Origins = append(v.Origins, o)
		}
		g.step(now)
		g.observe(now, v, own)
	}
	if !g.clock.OK || g.clock.Offset.Abs() > time.Second {
		t.Errorf("clock: %+v", g.clock)
	}
	now := instant{5 * time.Second, wall.Add(5 * time.Second)}
	g.observe(now, &View{Read: now.mono, done: now.mono, Origins: others[:3]}, own)
	if !g.clock.OK || g.clock.Alarm {
		t.Errorf("with three records of one name: %+v", g.clock)
	}
	others[4].N, others[4].ClockMS = 9, now.wall.Add(time.Hour).UnixMilli()
	g.observe(now, &View{Read: now.mono, done: now.mono, Origins: others[4:]}, own)
	if g.clock != (Clock{OK: true}) {
		t.Errorf("with a record of its own name: %+v", g.clock)
	}
}

func TestOutcomeOfAnAttempt(t *testing.T) {
	at := func(n uint64, revision int, ended bool) Origin {
		o := Origin{Record: Record{N: n, Ended: ended}}
		for range revision {
			o.Revision++
		}
		return o
	}
	a := attempt{own: at(4, 10, false)}
	for _, tt := range []struct {
		name string
		now  Origin
		want outcome
	}{
		{"the record is as it was", at(4, 10, false), undecided},
		{"the fence has moved", at(4, 12, false), never},
		{"the origin has ended", at(4, 12, true), never},
		{"the commit is there", at(5, 12, false), happened},
		{"the commit is there and the origin has ended", at(5, 13, true), happened},
		{"another commit is there", at(6, 13, false), impossible},
		{"a commit is missing", at(3, 9, false), impossible},
		{"the record is older", at(4, 9, false), impossible},
		{"the commit is there at an older revision", at(5, 9, false), impossible},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := a.outcome(tt.now); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// A record of a creation that arrived late is of no run, but of the name of one: it has no vote, and hides none.
func TestARecordOfNoRunHidesNoVote(t *testing.T) {
	wall := time.UnixMilli(1_800_000_000_000)
	own := Origin{ID: "own", Record: Record{Name: "a", Joined: 1}}
	for name, ids := range map[string][2]string{"listed before": {"b1", "b0"}, "listed after": {"b0", "b1"}} {
		t.Run(name, func(t *testing.T) {
			runs, late := Origin{ID: ids[0], Record: Record{Name: "b", Joined: 2}}, Origin{ID: ids[1], Record: Record{Name: "b", Joined: 3}}
			g := guard{grace: 10 * time.Second}
			for i := range 5 {
				now := instant{time.Duration(i) * time.Second, wall.Add(time.Duration(i) * time.Second)}
				runs.N, runs.ClockMS = uint64(i), now.wall.UnixMilli()
				v := &View{Read: now.mono, done: now.mono, Origins: []Origin{runs, late}}
				if ids[0] > ids[1] {
					v.Origins = []Origin{late, runs}
				}
				g.step(now)
				g.observe(now, v, own)
			}
			if !g.clock.OK {
				t.Errorf("clock: %+v", g.clock)
			}
		})
	}
}
