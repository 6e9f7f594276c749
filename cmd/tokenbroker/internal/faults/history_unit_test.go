package faults_test

import (
	"testing"
	"time"
)

// line is one operation of a history that a test writes.
type line struct {
	call, end time.Duration
	in        input
	out       outcome
}

// TestTheCheckerRefusesBadHistories plants each fault that the checker has to find, and the harmless histories that are
// close to them.
func TestTheCheckerRefusesBadHistories(t *testing.T) {
	ok := func(cookie string) outcome { return outcome{accepted: true, cookie: cookie} }
	refused, accepted, unknown := outcome{}, outcome{accepted: true}, outcome{unknown: true}
	open := line{0, 1, input{signIn, ""}, ok("A")}
	for name, tc := range map[string]struct {
		lines []line
		wrong bool
	}{
		"a session": {lines: []line{
			{2, 3, input{refresh, "A"}, ok("B")}, {4, 5, input{refresh, "B"}, ok("C")}, {6, 7, input{check, ""}, accepted},
			{8, 9, input{logOff, "C"}, accepted}, {10, 11, input{refresh, "C"}, refused}, {12, 13, input{check, ""}, refused},
		}},
		"two tabs receive one successor":        {lines: []line{{2, 5, input{refresh, "A"}, ok("B")}, {3, 4, input{refresh, "A"}, ok("B")}}},
		"two tabs receive two successors":       {wrong: true, lines: []line{{2, 5, input{refresh, "A"}, ok("B")}, {3, 4, input{refresh, "A"}, ok("C")}}},
		"a later replay has another successor":  {wrong: true, lines: []line{{2, 3, input{refresh, "A"}, ok("B")}, {4, 5, input{refresh, "A"}, ok("C")}}},
		"an old cookie is replayed":             {lines: []line{{2, 3, input{refresh, "A"}, ok("B")}, {4, 5, input{refresh, "B"}, ok("C")}, {6, 7, input{refresh, "A"}, ok("C")}}},
		"a replay sets a superseded cookie":     {wrong: true, lines: []line{{2, 3, input{refresh, "A"}, ok("B")}, {4, 5, input{refresh, "B"}, ok("C")}, {6, 7, input{refresh, "A"}, ok("B")}}},
		"a refresh is lost":                     {wrong: true, lines: []line{{2, 3, input{refresh, "A"}, ok("B")}, {4, 5, input{refresh, "B"}, refused}}},
		"a refresh sets a cookie again":         {wrong: true, lines: []line{{2, 3, input{refresh, "A"}, ok("A")}}},
		"an unknown cookie refreshes":           {wrong: true, lines: []line{{2, 3, input{refresh, "X"}, ok("B")}}},
		"a living session's token is refused":   {wrong: true, lines: []line{{2, 3, input{check, ""}, refused}}},
		"a log-off is lost":                     {wrong: true, lines: []line{{2, 3, input{logOff, "A"}, accepted}, {4, 5, input{refresh, "A"}, ok("B")}}},
		"a check after a log-off is stale":      {wrong: true, lines: []line{{2, 3, input{logOff, "A"}, accepted}, {4, 5, input{check, ""}, accepted}}},
		"a check during a log-off":              {lines: []line{{2, 5, input{logOff, "A"}, accepted}, {3, 4, input{check, ""}, accepted}}},
		"a check sees a log-off, the next not":  {wrong: true, lines: []line{{2, 9, input{logOff, "A"}, accepted}, {3, 4, input{check, ""}, refused}, {5, 6, input{check, ""}, accepted}}},
		"a refresh during a log-off":            {lines: []line{{2, 5, input{logOff, "A"}, accepted}, {3, 4, input{refresh, "A"}, ok("B")}, {6, 7, input{refresh, "B"}, refused}}},
		"a log-off without an answer, later":    {lines: []line{{2, forever, input{logOff, "A"}, unknown}, {4, 5, input{refresh, "A"}, ok("B")}, {6, 7, input{refresh, "B"}, refused}}},
		"a log-off without an answer, never":    {lines: []line{{2, forever, input{logOff, "A"}, unknown}, {4, 5, input{refresh, "A"}, ok("B")}}},
		"a log-off without an answer, undone":   {wrong: true, lines: []line{{2, forever, input{logOff, "A"}, unknown}, {4, 5, input{refresh, "A"}, refused}, {6, 7, input{refresh, "A"}, ok("B")}}},
		"a log-off is refused":                  {wrong: true, lines: []line{{2, 3, input{logOff, "A"}, refused}}},
		"an answer before its refresh was sent": {wrong: true, lines: []line{{2, 3, input{refresh, "B"}, ok("C")}, {4, 5, input{refresh, "A"}, ok("B")}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			h.sessions = append(h.sessions, nil)
			for _, l := range append([]line{open}, tc.lines...) {
				h.add(0, l.call, l.end, l.in, l.out)
			}
			if wrong := len(h.wrong()) > 0; wrong != tc.wrong {
				t.Errorf("the checker refuses the history: %t, want %t", wrong, tc.wrong)
			}
		})
	}
}

func TestTheLongestGapIsBetweenAcknowledgedWrites(t *testing.T) {
	h := newHistory()
	h.sessions = append(h.sessions, nil)
	for _, l := range []line{
		{0, 10, input{signIn, ""}, outcome{accepted: true, cookie: "A"}}, {20, 90, input{refresh, "A"}, outcome{accepted: true, cookie: "B"}},
		{40, 50, input{check, ""}, outcome{accepted: true}}, {30, 60, input{refresh, "A"}, outcome{accepted: true, cookie: "B"}},
	} {
		h.add(0, l.call, l.end, l.in, l.out)
	}
	if gap, since := h.gap(); gap != 50 || since != 10 {
		t.Errorf("the longest gap is %d from %d, want 50 from 10", gap, since)
	}
}
