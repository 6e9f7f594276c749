package benchrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tokenbroker/bench/report"
)

// tab is the client of one session, which remembers what it was told. One goroutine at a time uses it.
type tab struct {
	session    browser // with the latest acknowledged cookie and access token
	generation uint32  // of that cookie
	superseded string  // the cookie before that, or ""
	// rotated is when the request was sent that superseded it.
	rotated time.Time
	// pending is when the first unanswered request with the latest cookie was sent, or zero if there is none.
	pending time.Time
	ended   bool // by a log-off, or because the brokers refused it
	// off is when its log-off was acknowledged.
	off time.Time
}

func newTab(b *browser) (*tab, error) {
	g, ok := generation(b.cookie)
	if !ok {
		return nil, errors.New("the refresh cookie of this server is not of a tokenbroker of this version")
	}
	return &tab{session: *b, generation: g}, nil
}

// traffic is the load during faults, and what its clients saw. It is safe for concurrent use.
type traffic struct {
	brokers []*Server
	began   time.Time

	mu        sync.Mutex // guards the following
	history   report.History
	acks      [][]time.Duration // by broker, since began
	loggedOff []*tab            // their log-offs were acknowledged
}

func newTraffic(brokers []*Server) *traffic {
	return &traffic{brokers: brokers, began: time.Now(), acks: make([][]time.Duration, len(brokers))}
}

// now returns the time since the traffic began.
func (t *traffic) now() time.Duration { return time.Since(t.began) }

// faultTimeout is the time limit of each request during faults. It is shorter than the shortest grace, so that a
// superseded token is not used after it.
const faultTimeout = 3 * time.Second

// attempt is a refresh with a cookie at a broker, and its answer.
type attempt struct {
	broker int
	cookie string

	outcome    outcome
	err        error
	next       browser
	generation uint32
}

func (t *traffic) try(ctx context.Context, a *attempt, session browser) {
	a.next = session
	a.next.cookie = a.cookie
	var body []byte
	err := within(ctx, func(ctx context.Context) (err error) {
		body, err = t.brokers[a.broker].refreshAnswer(ctx, &a.next)
		return err
	})
	if a.outcome, a.err = outcomeOf(err), err; err != nil {
		return
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal(body, &answer) // without a token the checks of log-offs see less
	a.next.token = answer.AccessToken
	a.generation, _ = generation(a.next.cookie)
	t.acknowledged(a.broker)
}

// acknowledged records an acknowledged change.
func (t *traffic) acknowledged(broker int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.history.Acknowledged++
	t.acks[broker] = append(t.acks[broker], t.now())
}

// refresh sends all attempts at the same time and judges the answers.
func (t *traffic) refresh(ctx context.Context, of *tab, attempts ...*attempt) {
	began := time.Now()
	var all sync.WaitGroup
	for _, a := range attempts {
		all.Go(func() { t.try(ctx, a, of.session) })
	}
	all.Wait()
	known, superseded := of.generation, of.superseded
	for _, a := range attempts {
		j := judgement{presented: known, acknowledged: known, sent: known, supersedable: time.Since(began)}
		switch {
		case a.cookie == superseded:
			j.presented, j.supersedable = known-1, time.Since(of.rotated)
		case !of.pending.IsZero():
			j.supersedable = time.Since(of.pending)
		}
		switch a.outcome {
		case accepted:
			t.count(j.answered(a.generation), "a refresh of generation %d, after %d was acknowledged: %d", j.presented, known, a.generation)
		case refused:
			t.count(j.refused(), "a refresh of generation %d: %v", j.presented, a.err)
			of.ended = true
		case unanswered:
			t.unanswered()
		case unsent: // nothing happened
		}
	}
	of.learn(began, attempts)
}

// learn takes over the newest of the answers.
func (of *tab) learn(began time.Time, attempts []*attempt) {
	latest := of.session.cookie
	for _, a := range attempts {
		switch {
		case a.outcome == accepted && a.generation > of.generation:
			of.superseded, of.rotated = of.session.cookie, began
			of.session, of.generation, of.pending = a.next, a.generation, time.Time{}
		case a.outcome == unanswered && a.cookie == latest && of.session.cookie == latest && of.pending.IsZero():
			of.pending = began
		}
	}
}

// count counts a verdict. The text describes it if it is a broken promise.
func (t *traffic) count(v verdict, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &t.history
	switch v {
	case kept:
		return
	case expired:
		h.Expired++
		return
	case lateCheck:
		h.LateChecks++
		return
	case lost:
		h.Lost++
	case doubleSuccessor:
		h.DoubleSuccessors++
	case staleRead:
		h.StaleReads++
	}
	if h.First == "" {
		h.First = fmt.Sprintf(format, args...)
	}
}

// step sends the n-th request of a tab. Some steps refresh at two brokers at the same time, as two tabs of a
// browser do, or present the token before the latest one at another broker.
func (t *traffic) step(ctx context.Context, of *tab, n int) {
	const freshly = time.Second // leaves time until the end of the shortest grace
	at, other := n%len(t.brokers), (n+1)%len(t.brokers)
	one := &attempt{broker: at, cookie: of.session.cookie}
	switch {
	case n%8 == 3 && of.superseded != "" && time.Since(of.rotated) < freshly:
		t.refresh(ctx, of, &attempt{broker: other, cookie: of.superseded})
	case n%4 == 1:
		t.refresh(ctx, of, one, &attempt{broker: other, cookie: of.session.cookie})
	default:
		t.refresh(ctx, of, one)
	}
}

// logOff logs a tab off, at one broker after the other until one answers, and checks that the other brokers then
// refuse its session and its access token.
func (t *traffic) logOff(ctx context.Context, of *tab, n int) {
	t.refresh(ctx, of, &attempt{broker: n % len(t.brokers), cookie: of.session.cookie}) // for a new access token
	repeated := false
	for ; !of.ended && ctx.Err() == nil; n++ {
		at := n % len(t.brokers)
		err := within(ctx, func(ctx context.Context) error { return t.brokers[at].logOff(ctx, &of.session) })
		switch outcomeOf(err) {
		case accepted:
			t.acknowledged(at)
			of.ended, of.off = true, time.Now()
		case refused:
			if of.ended, of.off = true, time.Now(); !repeated && of.pending.IsZero() {
				t.count(lost, "a log-off of a session that was not logged off: %v", err)
			}
		case unanswered:
			repeated = true
			t.unanswered()
			wait(ctx, pollPause)
		case unsent:
			wait(ctx, pollPause)
		}
	}
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	t.loggedOff = append(t.loggedOff, of)
	t.mu.Unlock()
	for i := range t.brokers {
		t.expectLoggedOff(ctx, of, i, staleRead)
	}
}

// longestLate is how old the knowledge of a broker may be by which it judges access tokens while the store does not
// answer.
const longestLate = 30 * time.Second

// expectLoggedOff checks that a broker refuses the access token and the refresh token of a tab that was logged off.
// It counts the verdict if a refresh is accepted, and returns the outcome of the refresh.
func (t *traffic) expectLoggedOff(ctx context.Context, of *tab, broker int, otherwise verdict) outcome {
	ofAccess := lateCheck
	if time.Since(of.off) > longestLate {
		ofAccess = lost
	}
	at, session := t.brokers[broker], of.session
	err := within(ctx, func(ctx context.Context) error { return at.verify(ctx, session.token) })
	if outcomeOf(err) == accepted {
		t.count(ofAccess, "an access token was accepted after the log-off of its session was acknowledged")
	}
	err = within(ctx, func(ctx context.Context) error { return at.refresh(ctx, &session) })
	if outcomeOf(err) == accepted {
		t.count(otherwise, "a refresh was accepted after the log-off of its session was acknowledged")
	}
	return outcomeOf(err)
}

func within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	return f(ctx)
}

func (t *traffic) unanswered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.history.Unanswered++
}

// take returns what was counted since the last call.
func (t *traffic) take() report.History {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.history
	t.history = report.History{}
	return h
}

// gap returns the longest time within [from, to] in which one of the brokers acknowledged nothing. It ignores the
// broker with the index without.
func (t *traffic) gap(from, to time.Duration, without int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	longest := time.Duration(0)
	for i, acks := range t.acks {
		if i != without {
			longest = max(longest, longestGap(acks, from, to))
		}
	}
	return longest
}

// offs returns the tabs whose log-offs were acknowledged.
func (t *traffic) offs() []*tab {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.loggedOff)
}
