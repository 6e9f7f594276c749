package faults_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// request is what a client asks of a session.
type request int

const (
	signIn request = iota
	refresh
	logOff
	check // verification or introspection of one of its access tokens
)

// input is a request, and the refresh cookie that it presents.
type input struct {
	request request
	cookie  string
}

// output is the answer of a request: accepted, or refused as 401 does. A request without an answer has no entry in the
// history, except a log-off.
type outcome struct {
	accepted bool
	cookie   string // that the answer sets
	unknown  bool   // of a log-off: it may happen at any time from then on
}

// session is the state of a session as a client may see it. The zero value is before the sign-in.
type session struct {
	cookies []string // all that were set, the current one last
	ended   bool
}

// model is the contract of a session, without its clocks: the grace of superseded cookies is longer than a test.
//   - A refresh with the current cookie sets a new one. One with a superseded cookie sets the current one again, so no
//     cookie ever has two live successors.
//   - After a log-off, refreshes and checks of tokens are refused. Before it, none is.
//
// A refresh without an answer is left out: whether it happened shows only in the successor of its cookie, which the next
// refresh with it returns in both cases.
var model = porcupine.Model{
	Init: func() any { return session{} },
	Step: func(state, in, out any) (bool, any) { return state.(session).step(in.(input), out.(outcome)) },
	Equal: func(a, b any) bool {
		x, y := a.(session), b.(session)
		return x.ended == y.ended && slices.Equal(x.cookies, y.cookies)
	},
}

func (s session) step(in input, out outcome) (bool, session) {
	switch {
	case in.request == signIn:
		return len(s.cookies) == 0, session{cookies: []string{out.cookie}}
	case len(s.cookies) == 0:
		return false, s
	case in.request == logOff:
		s.ended = true
		return out.unknown || out.accepted, s
	case !out.accepted:
		return s.ended, s
	case s.ended:
		return false, s
	case in.request == check:
		return true, s
	}
	latest := s.cookies[len(s.cookies)-1]
	switch {
	case in.cookie == latest:
		if slices.Contains(s.cookies, out.cookie) {
			return false, s
		}
		return true, session{cookies: append(slices.Clip(s.cookies), out.cookie)}
	case slices.Contains(s.cookies, in.cookie):
		return out.cookie == latest, s
	}
	return false, s
}

// history has the operations of many sessions. It is safe for concurrent use.
type history struct {
	start time.Time

	mu       sync.Mutex // guards the rest
	sessions [][]porcupine.Operation
	writes   []time.Duration // when a write was acknowledged
	unknown  int             // requests without an answer
}

func newHistory() *history { return &history{start: time.Now()} }

// now is the time of the history.
func (h *history) now() time.Duration { return time.Since(h.start) }

// forever is when a request without an answer has ended.
const forever = time.Duration(1 << 62)

// open adds a session by its acknowledged sign-in, which began at call, and returns its number.
func (h *history) open(call time.Duration, cookie string) int {
	h.mu.Lock()
	h.sessions = append(h.sessions, nil)
	sid := len(h.sessions) - 1
	h.mu.Unlock()
	h.add(sid, call, h.now(), input{request: signIn}, outcome{accepted: true, cookie: cookie})
	return sid
}

// add adds an operation of a session.
func (h *history) add(sid int, call, end time.Duration, in input, out outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[sid] = append(h.sessions[sid], porcupine.Operation{Input: in, Output: out, Call: int64(call), Return: int64(end)})
	if in.request != check && out.accepted {
		h.writes = append(h.writes, end)
	}
}

// lost counts a request without an answer.
func (h *history) lost() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unknown++
}

// acknowledged returns how many writes were.
func (h *history) acknowledged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.writes)
}

// gapSince returns the longest time without an acknowledged write since a moment.
func (h *history) gapSince(moment time.Duration) (longest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.writes)
	for _, at := range h.writes {
		if at > moment {
			longest, moment = max(longest, at-moment), at
		}
	}
	return longest
}

// gap returns the longest time without an acknowledged write, and when it began.
func (h *history) gap() (longest, since time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.writes)
	for i := 1; i < len(h.writes); i++ {
		if gap := h.writes[i] - h.writes[i-1]; gap > longest {
			longest, since = gap, h.writes[i-1]
		}
	}
	return longest, since
}

// wrong returns the numbers of the sessions whose operations no order explains.
func (h *history) wrong() (sids []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sid, operations := range h.sessions {
		if porcupine.CheckOperationsTimeout(model, operations, time.Minute) != porcupine.Ok {
			sids = append(sids, sid)
		}
	}
	return sids
}

// verify fails the test if a session's operations cannot be explained, and lists them.
func (h *history) verify(t *testing.T) {
	t.Helper()
	for _, sid := range h.wrong() {
		operations := slices.Clone(h.sessions[sid])
		slices.SortFunc(operations, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		t.Errorf("no order explains session %d:", sid)
		for _, o := range operations {
			t.Logf("  %9s to %9s: %s", time.Duration(o.Call).Round(time.Millisecond), time.Duration(o.Return).Round(time.Millisecond), describe(o))
		}
	}
}

func describe(o porcupine.Operation) string {
	in, out := o.Input.(input), o.Output.(outcome)
	text := [...]string{"sign-in", "refresh", "log-off", "check"}[in.request]
	if in.cookie != "" {
		text += " " + tail(in.cookie)
	}
	switch {
	case out.unknown:
		return text + ": no answer"
	case !out.accepted:
		return text + ": refused"
	case out.cookie != "":
		return text + ": " + tail(out.cookie)
	}
	return text + ": accepted"
}

// tail is enough of a cookie to tell it from others.
func tail(cookie string) string { return cookie[max(0, len(cookie)-6):] }
