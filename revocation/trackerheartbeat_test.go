package revocation_test

import (
	"testing"
	"time"

	"tokenbroker/revocation"
)

func TestCopiesAreProvedByThreeGrowingHeartbeats(t *testing.T) {
	const started = 100_000
	type beat struct {
		after    time.Duration
		up, atMS int64
	}
	for name, tt := range map[string]struct {
		beats []beat
		want  int // the beat that proves the copy, from 1; 0 means none
	}{
		"each second":             {[]beat{{0, 1000, 101_000}, {time.Second, 2000, 102_000}, {time.Second, 3000, 103_000}}, 3},
		"two":                     {[]beat{{0, 1000, 101_000}, {time.Second, 2000, 102_000}}, 0},
		"the same one replayed":   {[]beat{{0, 1000, 101_000}, {time.Second, 1000, 101_000}, {time.Second, 1000, 101_000}, {time.Second, 1000, 101_000}}, 0},
		"up does not grow":        {[]beat{{0, 1000, 101_000}, {time.Second, 2000, 102_000}, {time.Second, 2000, 103_000}}, 0},
		"at_ms does not grow":     {[]beat{{0, 1000, 101_000}, {time.Second, 2000, 102_000}, {time.Second, 3000, 102_000}}, 0},
		"backwards":               {[]beat{{0, 3000, 103_000}, {time.Second, 2000, 102_000}, {time.Second, 1000, 101_000}}, 0},
		"a recording of before":   {[]beat{{0, 1000, 97_000}, {time.Second, 2000, 98_000}, {time.Second, 3000, 99_000}, {time.Second, 4000, 100_000}}, 0},
		"over more than 10 s":     {[]beat{{0, 1000, 101_000}, {6 * time.Second, 2000, 107_000}, {6 * time.Second, 3000, 113_000}}, 0},
		"then three within 10 s":  {[]beat{{0, 1000, 101_000}, {time.Hour, 2000, 102_000}, {time.Second, 3000, 103_000}, {time.Second, 4000, 104_000}}, 4},
		"exactly within 10 s":     {[]beat{{0, 1000, 101_000}, {5 * time.Second, 2000, 106_000}, {5 * time.Second, 3000, 111_000}}, 3},
		"its clock catches up on": {[]beat{{0, 1000, 99_000}, {time.Second, 2000, 100_000}, {time.Second, 3000, 101_000}, {time.Second, 4000, 102_000}, {time.Second, 5000, 103_000}}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			var c revocation.Copies
			var now time.Duration
			proved := 0
			for i, b := range tt.beats {
				now += b.after
				alive := c.Beat(now, &revocation.Heartbeat{Origin: "other", Up: b.up, AtMS: b.atMS}, started)
				if alive && proved == 0 {
					proved = i + 1
				}
			}
			if proved != tt.want {
				t.Errorf("proved by beat %d, want %d", proved, tt.want)
			}
		})
	}
}

func TestCopiesRememberABoundedNumberOfOrigins(t *testing.T) {
	var c revocation.Copies
	name := func(i int) string { return string(rune('a'+i%26)) + time.Duration(i).String() }
	for round := range 3 {
		for i := range 3000 {
			alive := c.Beat(time.Duration(round)*time.Second, &revocation.Heartbeat{Origin: name(i), Up: int64(round + 1), AtMS: int64(round + 1)}, 0)
			if alive != (round == 2 && i < 1024) {
				t.Fatalf("round %d, origin %d: alive %v", round, i, alive)
			}
		}
	}
}
