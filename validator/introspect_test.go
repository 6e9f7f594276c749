package validator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

// oracle is a broker with a prepared answer for every token.
type oracle struct {
	mu     sync.Mutex
	asked  []string // tokens; guarded by mu, as all below
	auth   string
	delay  time.Duration
	status int
	body   string
	fails  error
}

func (o *oracle) set(change func(*oracle)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *oracle) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

func (o *oracle) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/oauth2/introspect" {
		return nil, fmt.Errorf("%s %s %s: %w", r.Method, r.URL, body, err)
	}
	o.mu.Lock()
	o.asked = append(o.asked, form.Get("token"))
	o.auth = r.Header.Get("Authorization")
	delay, status, text, fails := o.delay, o.status, o.body, o.fails
	o.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if fails != nil {
		return nil, fails
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Request: r,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(text)),
	}, nil
}

const yes, no = `{"active":true,"sub":"s"}`, `{"active":false}`

// withOracle runs f in a bubble with an introspector that asks o.
func withOracle(t *testing.T, d *revocation.Denylist, f func(t *testing.T, o *oracle, i *introspector)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{status: 200, body: yes}
		i := newOracleIntrospector(o, d)
		defer i.close()
		f(t, o, i)
	})
}

func newOracleIntrospector(o *oracle, d *revocation.Denylist) *introspector {
	return newIntrospector(newBrokerClient("https://issuer/", Client{ID: "a:b", Secret: "s c%"}, &http.Client{Transport: o}), d, slog.New(slog.DiscardHandler))
}

func TestIntrospectionIsRequestedOnceForAllCallers(t *testing.T) {
	withOracle(t, revocation.NewDenylist(), func(t *testing.T, o *oracle, i *introspector) {
		o.set(func(o *oracle) { o.delay = 100 * time.Millisecond })
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				if active, err := i.active(t.Context(), "one", time.Minute); err != nil || !active {
					t.Errorf("%v %v", active, err)
				}
			})
		}
		all.Wait()
		if n := o.count(); n != 1 || i.asked.Load() != 1 {
			t.Fatalf("%d requests for 64 callers", n)
		}
		// The form-encoded id and secret of RFC 6749 §2.3.1.
		if o.auth != "Basic YSUzQWI6cytjJTI1" {
			t.Errorf("authenticates as %q", o.auth)
		}
		time.Sleep(900 * time.Millisecond) // a second after it was sent, not after it came
		if _, err := i.active(t.Context(), "one", time.Minute); err != nil || o.count() != 1 {
			t.Errorf("after 1 s: %v, %d requests", err, o.count())
		}
		time.Sleep(time.Millisecond)
		o.set(func(o *oracle) { o.body = no })
		if active, err := i.active(t.Context(), "one", time.Minute); active || err != nil || o.count() != 2 {
			t.Errorf("later: %v %v, %d requests", active, err, o.count())
		}
		if active, err := i.active(t.Context(), "two", time.Minute); active || err != nil || o.count() != 3 {
			t.Errorf("another token: %v %v, %d requests", active, err, o.count())
		}
	})
}

// A stored or awaited answer is used only for callers whose bound allows its age.
func TestIntrospectionKeepsTheCallersBound(t *testing.T) {
	withOracle(t, revocation.NewDenylist(), func(t *testing.T, o *oracle, i *introspector) {
		ask := func(bound time.Duration, requests int) {
			t.Helper()
			if _, err := i.active(t.Context(), "one", bound); err != nil || o.count() != requests {
				t.Errorf("%v, %d requests, want %d", err, o.count(), requests)
			}
		}
		ask(time.Minute, 1)
		time.Sleep(300 * time.Millisecond)
		ask(300*time.Millisecond, 1)
		ask(299*time.Millisecond, 2)
		time.Sleep(2 * time.Second)
		o.set(func(o *oracle) { o.delay = 1500 * time.Millisecond })
		var slow sync.WaitGroup
		slow.Go(func() { ask(time.Minute, 4) })
		time.Sleep(1200 * time.Millisecond)
		ask(time.Minute, 4) // the first is too old to join
		slow.Wait()
	})
}

// What came after the answer was asked for and was evicted since is not known to it.
func TestIntrospectionAnswersEndWhenTheDenylistHasTurnedOver(t *testing.T) {
	d := revocation.NewCappedDenylist(2)
	withOracle(t, d, func(t *testing.T, o *oracle, i *introspector) {
		for n, requests := range []int{1, 1, 1, 2, 2} {
			if _, err := i.active(t.Context(), "one", time.Minute); err != nil || o.count() != requests {
				t.Errorf("after %d: %v, %d requests, want %d", n, err, o.count(), requests)
			}
			d.Apply(revocation.Event{Kind: "sid", Value: fmt.Sprint("s", n), ExpiresAt: 1 << 40})
		}
	})
}

func TestIntrospectionFailures(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*oracle)
		text   string
	}{
		"no connection":   {func(o *oracle) { o.fails = errors.New("refused") }, "refused"},
		"no answer":       {func(o *oracle) { o.delay = time.Hour }, "deadline exceeded"},
		"401":             {func(o *oracle) { o.status, o.body = 401, `{"error":"invalid_client"}` }, "check the client's id and secret"},
		"503":             {func(o *oracle) { o.status = 503 }, "/oauth2/introspect answers"},
		"302":             {func(o *oracle) { o.status = 302 }, "/oauth2/introspect answers"},
		"no JSON":         {func(o *oracle) { o.body = "yes" }, "RFC 7662"},
		"no active":       {func(o *oracle) { o.body = `{"sub":"s"}` }, "RFC 7662"},
		"active is text":  {func(o *oracle) { o.body = `{"active":"true"}` }, "RFC 7662"},
		"active is null":  {func(o *oracle) { o.body = `{"active":null}` }, "RFC 7662"},
		"two answers":     {func(o *oracle) { o.body = yes + yes }, "RFC 7662"},
		"more than it is": {func(o *oracle) { o.body = `{"active":true,"x":"` + strings.Repeat("x", 64<<10) + `"}` }, "RFC 7662"},
	} {
		t.Run(name, func(t *testing.T) {
			withOracle(t, revocation.NewDenylist(), func(t *testing.T, o *oracle, i *introspector) {
				o.set(row.change)
				start := time.Now()
				active, err := i.active(t.Context(), "token", time.Minute)
				if active || err == nil || !strings.Contains(err.Error(), row.text) {
					t.Errorf("%v %v", active, err)
				}
				if strings.Contains(err.Error(), "s c%") || strings.Contains(err.Error(), "token=") {
					t.Errorf("the error shows a secret: %v", err)
				}
				if took := time.Since(start); took > introspectTimeout {
					t.Errorf("it took %v", took)
				}
				if _, err := i.active(t.Context(), "token", time.Minute); err == nil || o.count() != 2 {
					t.Errorf("a failure is not kept: %v, %d requests", err, o.count())
				}
			})
		})
	}
}

func TestIntrospectionBreaker(t *testing.T) {
	withOracle(t, revocation.NewDenylist(), func(t *testing.T, o *oracle, i *introspector) {
		n := 0
		ask := func(want error, requests int) {
			t.Helper()
			n++
			if _, err := i.active(t.Context(), fmt.Sprint("token ", n), time.Minute); !errors.Is(err, want) || o.count() != requests {
				t.Errorf("%v, want %v; %d requests, want %d", err, want, o.count(), requests)
			}
		}
		down := errors.New("down")
		o.set(func(o *oracle) { o.fails = down })
		ask(down, 1)
		o.set(func(o *oracle) { o.fails = nil })
		ask(nil, 2) // the count is of failures in a row
		o.set(func(o *oracle) { o.fails = down })
		for k := range breakerFailures {
			ask(down, 3+k)
		}
		at := 2 + breakerFailures
		ask(errBreakerOpen, at)
		time.Sleep(breakerPause - time.Millisecond)
		ask(errBreakerOpen, at)
		time.Sleep(time.Millisecond)
		ask(down, at+1) // the one that tries
		ask(errBreakerOpen, at+1)
		time.Sleep(breakerPause)
		o.set(func(o *oracle) { o.fails, o.delay = nil, 10*time.Millisecond })
		var probe sync.WaitGroup
		probe.Go(func() { _, _ = i.active(t.Context(), "probe", time.Minute) })
		synctest.Wait()
		ask(errBreakerOpen, at+2) // one tries at a time
		probe.Wait()
		ask(nil, at+3)
		ask(nil, at+4)
	})
}

func TestIntrospectionIsBounded(t *testing.T) {
	withOracle(t, revocation.NewDenylist(), func(t *testing.T, o *oracle, i *introspector) {
		o.set(func(o *oracle) { o.delay = time.Second })
		var all sync.WaitGroup
		for n := range introspectAtOnce {
			all.Go(func() { _, _ = i.active(t.Context(), fmt.Sprint(n), time.Minute) })
		}
		synctest.Wait()
		if _, err := i.active(t.Context(), "one more", time.Minute); !errors.Is(err, errTooManyAtOnce) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := i.active(ctx, "0", time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that gave up: %v", err)
		}
		all.Wait()
		o.set(func(o *oracle) { o.delay = 0 })
		for n := range 2 * introspectAnswers {
			if _, err := i.active(t.Context(), fmt.Sprint("many ", n), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if len(i.flights) != 0 || i.answers.Len() > introspectAnswers {
			t.Errorf("%d flights, %d answers", len(i.flights), i.answers.Len())
		}
	})
}

func TestIntrospectionEndsWithItsOwner(t *testing.T) {
	withOracle(t, revocation.NewDenylist(), func(t *testing.T, o *oracle, i *introspector) {
		o.set(func(o *oracle) { o.delay = time.Second })
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := i.active(t.Context(), "token", time.Minute); err == nil {
				t.Error("an answer after the end")
			}
		})
		synctest.Wait()
		start := time.Now()
		i.close()
		waiting.Wait()
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v", took)
		}
		if _, err := i.active(t.Context(), "token", time.Minute); !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
	})
}
