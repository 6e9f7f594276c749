package benchrun

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/bench/report"
	"tokenbroker/broker"
	"tokenbroker/broker/credential"
)

// noSecrets is a keyring of zeros.
type noSecrets struct{}

func (noSecrets) Keys(string) [][]byte { return [][]byte{make([]byte, 32)} }
func (noSecrets) Outdated() error      { return nil }

func TestGenerationOfARefreshCookie(t *testing.T) {
	token := credential.NewRefreshToken(broker.ID{1}, broker.ID{2})
	token.Generation = 77
	if g, ok := generation("refresh_cookie=" + token.Encode(noSecrets{})); !ok || g != 77 {
		t.Errorf("generation %d, %v; want 77", g, ok)
	}
	for _, cookie := range []string{"", "c", "c=", "c=rt1.", "c=rt1.AAAA", "c=rt2." + strings.Repeat("A", 112), "c=rt1." + strings.Repeat("?", 112)} {
		if g, ok := generation(cookie); ok {
			t.Errorf("%q has the generation %d", cookie, g)
		}
	}
}

func TestOutcomeOfAnAnswer(t *testing.T) {
	for _, c := range []struct {
		err  error
		want outcome
	}{
		{nil, accepted},
		{&statusError{status: http.StatusUnauthorized}, refused},
		{&statusError{status: http.StatusGone}, refused},
		{&statusError{status: http.StatusTooManyRequests}, unanswered},
		{&statusError{status: http.StatusBadGateway}, unanswered},
		{&statusError{status: http.StatusServiceUnavailable}, unanswered},
		{context.DeadlineExceeded, unanswered},
		{fmt.Errorf("x: %w", &net.OpError{Op: "read", Err: errors.New("reset")}), unanswered},
		{fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), unsent},
	} {
		if got := outcomeOf(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestJudgement(t *testing.T) {
	latest := judgement{presented: 5, acknowledged: 5, sent: 5}
	earlier := judgement{presented: 4, acknowledged: 5, sent: 5}
	for _, c := range []struct {
		name string
		of   judgement
		got  uint32
		want verdict
	}{
		{"the successor of the latest token", latest, 6, kept},
		{"the latest token again", latest, 5, staleRead},
		{"an earlier token", latest, 4, staleRead},
		{"a rotation that was not asked for", latest, 7, doubleSuccessor},
		{"an earlier token: the latest one", earlier, 5, kept},
		{"an earlier token: its own generation", earlier, 4, staleRead},
		{"an earlier token: one that was superseded by another request with the latest", earlier, 6, kept},
		{"an earlier token: a rotation that was not asked for", earlier, 7, doubleSuccessor},
	} {
		if got := c.of.answered(c.got); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for after, want := range map[time.Duration]verdict{0: lost, leastGrace - 1: lost, leastGrace: expired} {
		if got := (judgement{supersedable: after}).refused(); got != want {
			t.Errorf("refused after %v: %d, want %d", after, got, want)
		}
	}
}

// fakeCluster are brokers with one session. It answers as brokers do, except for its faults.
type fakeCluster struct {
	mu         sync.Mutex // guards the following
	generation uint32
	ended      bool

	forget    uint32 // the rotation to this generation is acknowledged and lost
	rotations uint32 // of each refresh
	// stale is an index of a broker that answers with the state of the beginning.
	stale int
	// deaf is an index of a broker that answers 503 after the change was made.
	deaf int
}

func cookieOf(g uint32) string {
	b := make([]byte, 84)
	binary.BigEndian.PutUint32(b[32:], g)
	return "rt1." + base64.RawURLEncoding.EncodeToString(b)
}

func (f *fakeCluster) broker(index int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		status := http.StatusOK
		presented, _ := generation(r.Header.Get("Cookie"))
		switch {
		case f.ended && index != f.stale, presented > f.generation:
			status = http.StatusUnauthorized
		case r.URL.Path == "/auth/logoff/":
			f.ended = true
		case r.URL.Path == "/auth/refresh/" && index == f.stale:
			http.SetCookie(w, &http.Cookie{Name: "c", Value: cookieOf(2)})
		case r.URL.Path == "/auth/refresh/":
			answer := f.generation
			if presented == f.generation {
				answer += f.rotations
				if answer != f.forget {
					f.generation = answer
				}
			}
			http.SetCookie(w, &http.Cookie{Name: "c", Value: cookieOf(answer)})
		}
		if index == f.deaf {
			status = http.StatusServiceUnavailable
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, `{"access_token": "t"}`)
	}
}

// TestTrafficFindsBrokenPromises runs a client against brokers that break a promise.
func TestTrafficFindsBrokenPromises(t *testing.T) {
	const none = -1
	for _, c := range []struct {
		name    string
		brokers *fakeCluster
		want    report.History // the counts of broken promises
	}{
		{"honest brokers", &fakeCluster{stale: none, deaf: none, rotations: 1}, report.History{}},
		{"answers that are lost", &fakeCluster{stale: none, deaf: 1, rotations: 1}, report.History{}},
		{"a lost rotation", &fakeCluster{stale: none, deaf: none, rotations: 1, forget: 9}, report.History{Lost: 1}},
		{"two rotations for one refresh", &fakeCluster{stale: none, deaf: none, rotations: 2}, report.History{DoubleSuccessors: 1}},
		{"a broker with an old state", &fakeCluster{stale: 2, deaf: none, rotations: 1}, report.History{StaleReads: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.brokers
			f.generation = 1
			traffic, of := f.clients(t)
			for n := range 40 {
				traffic.step(t.Context(), of, n)
			}
			h := traffic.take()
			for _, count := range []struct {
				name      string
				got, want uint64
			}{{"lost", h.Lost, c.want.Lost}, {"double successors", h.DoubleSuccessors, c.want.DoubleSuccessors}, {"stale reads", h.StaleReads, c.want.StaleReads}} {
				if (count.got > 0) != (count.want > 0) {
					t.Errorf("%d %s, want %d; first: %s", count.got, count.name, count.want, h.First)
				}
			}
			if h.Acknowledged == 0 || (h.Unanswered > 0) != (f.deaf != none) || h.Expired > 0 {
				t.Errorf("%+v", h)
			}
		})
	}
}

func (f *fakeCluster) clients(t *testing.T) (*traffic, *tab) {
	t.Helper()
	var brokers []*Server
	for i := range 3 {
		s := httptest.NewServer(f.broker(i))
		t.Cleanup(s.Close)
		brokers = append(brokers, &Server{options: Options{URL: s.URL}, http: s.Client()})
	}
	of, err := newTab(&browser{cookie: "c=" + cookieOf(1)})
	if err != nil {
		t.Fatal(err)
	}
	return newTraffic(brokers), of
}

func TestLogOffIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		stale int
		want  report.History // without Acknowledged
	}{"it holds at every broker": {-1, report.History{}}, "one broker still accepts both tokens": {2, report.History{StaleReads: 1, LateChecks: 1}}} {
		t.Run(name, func(t *testing.T) {
			f := &fakeCluster{stale: c.stale, deaf: -1, rotations: 1, generation: 1}
			traffic, of := f.clients(t)
			traffic.logOff(t.Context(), of, 0)
			if h := traffic.take(); h.Acknowledged != 2 || h.StaleReads != c.want.StaleReads || h.LateChecks != c.want.LateChecks || h.Lost > 0 {
				t.Errorf("%+v", h)
			}
			if len(traffic.offs()) != 1 {
				t.Error("the log-off is not remembered for the last check")
			}
			of.off = time.Now().Add(-longestLate - time.Second) // now it is also too late for the access token
			for i := range traffic.brokers {
				traffic.expectLoggedOff(t.Context(), of, i, lost)
			}
			if h := traffic.take(); h.Lost != c.want.StaleReads+c.want.LateChecks {
				t.Errorf("in the last check: %+v", h)
			}
		})
	}
}

// A session that ended because a refresh was not answered within the grace is not lost.
func TestSessionThatEndedAfterTheGrace(t *testing.T) {
	f := &fakeCluster{stale: -1, deaf: -1, rotations: 1, generation: 1, ended: true}
	traffic, of := f.clients(t)
	of.pending = time.Now().Add(-leastGrace)
	traffic.step(t.Context(), of, 0)
	if diff := cmp.Diff(report.History{Expired: 1}, traffic.take()); diff != "" || !of.ended {
		t.Errorf("ended %v, -want +got:\n%s", of.ended, diff)
	}
}

func TestLongestGap(t *testing.T) {
	for _, c := range []struct {
		name  string
		times []time.Duration
		want  time.Duration
	}{
		{"nothing", nil, 10},
		{"before and after", []time.Duration{5, 25}, 10},
		{"at the start", []time.Duration{10, 11}, 9},
		{"at the end", []time.Duration{19, 20}, 9},
		{"in the middle", []time.Duration{3, 11, 13, 17, 19, 40}, 4},
	} {
		if got := longestGap(c.times, 10, 20); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestGapLeavesOutTheKilledBroker(t *testing.T) {
	traffic := newTraffic(make([]*Server, 2))
	traffic.acks = [][]time.Duration{{1}, {5, 8}}
	if all, others := traffic.gap(0, 10, -1), traffic.gap(0, 10, 0); all != 9 || others != 5 {
		t.Errorf("gap %d, of the other broker %d; want 9 and 5", all, others)
	}
}

func TestWorstOfTheSamples(t *testing.T) {
	w := &lagWatch{samples: []sample{{at: 1, age: 9, stale: 1}, {at: 5, age: 3, stale: 2}, {at: 6, age: 4, stale: 1}, {at: 20, age: 99}}}
	if age, stale := w.worst(2, 10); age != 4 || stale != 2 {
		t.Errorf("age %d, %d stale; want 4 and 2", age, stale)
	}
}
