package benchrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is a Progress that shows nothing.
type quiet struct{}

func (quiet) Begin(string, int) {}
func (quiet) Add(int)           {}
func (quiet) End()              {}

// fakeBroker responds to sign-ins and log-offs, and refuses the first few with 429.
type fakeBroker struct {
	refuse, signedIn, signedOut, atOnce, most atomic.Int64

	enough     int64 // number of sign-ins after which whenEnough is called
	whenEnough func()
}

func (f *fakeBroker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := f.atOnce.Add(1)
	defer f.atOnce.Add(-1)
	for most := f.most.Load(); now > most && !f.most.CompareAndSwap(most, now); most = f.most.Load() {
	}
	switch {
	case r.URL.Path == "/auth/sign-in/" && f.refuse.Add(-1) >= 0:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"code":"too_many_attempts"}`)
	case r.URL.Path == "/auth/sign-in/":
		http.SetCookie(w, &http.Cookie{Name: "c", Value: "v"})
		n := f.signedIn.Add(1)
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","CSRF_token":"x"}`, n)
		if n == f.enough {
			f.whenEnough()
		}
	case r.URL.Path == "/auth/logoff/":
		f.signedOut.Add(1)
		_, _ = io.WriteString(w, `{}`)
	default:
		_, _ = io.WriteString(w, `{}`)
	}
}

func startFake(t *testing.T) (*fakeBroker, *Bench) {
	t.Helper()
	f := &fakeBroker{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	s, err := At(t.Context(), Options{URL: server.URL + "/", Account: Account{"ada", "lovelace"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return f, &Bench{Server: s, Progress: quiet{}}
}

// A server's throttle counts a pending sign-in as a failure, and sends Retry-After.
func TestSignInRespectsTheThrottle(t *testing.T) {
	f, b := startFake(t)
	f.refuse.Store(2)
	sessions, err := b.signIn(t.Context(), 20)
	if err != nil || len(sessions) != 20 {
		t.Fatalf("%d sessions, error %v", len(sessions), err)
	}
	if most := f.most.Load(); most > remoteSignIns {
		t.Errorf("%d sign-ins at once, want at most %d", most, remoteSignIns)
	}
	b.signOut(t.Context(), sessions)
	if n := f.signedOut.Load(); n != 20 {
		t.Errorf("%d of 20 sessions were ended", n)
	}
}

// TestSignInStopped checks that the open sessions are ended although the benchmark was stopped.
func TestSignInStopped(t *testing.T) {
	f, b := startFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.enough, f.whenEnough = 200, cancel
	sessions, err := b.signIn(ctx, 1_000_000)
	if !errors.Is(err, context.Canceled) || len(sessions) == 0 {
		t.Fatalf("%d sessions, error %v", len(sessions), err)
	}
	b.signOut(ctx, sessions[:min(len(sessions), 50)])
	if f.signedOut.Load() == 0 {
		t.Error("no session was ended")
	}
}

// roundTrip is a server without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// logOffs runs signOut for 200 sessions at a server whose responses take a second. It returns the
// number of requests and the time that they took.
func logOffs(ctx context.Context, answer func() (*http.Response, error)) (asked int64, took time.Duration) {
	var requests atomic.Int64
	b := &Bench{Progress: quiet{}, Server: &Server{http: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		requests.Add(1)
		time.Sleep(time.Second)
		return answer()
	})}}}
	sessions := make([]*browser, 200)
	for i := range sessions {
		sessions[i] = &browser{}
	}
	began := time.Now()
	b.signOut(ctx, sessions)
	return requests.Load(), time.Since(began)
}

func TestSignOut(t *testing.T) {
	refused := func() (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody}, nil
	}
	t.Run("ends all sessions", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if asked, took := logOffs(t.Context(), refused); asked != 200 {
				t.Errorf("%d of 200 sessions were ended in %v", asked, took)
			}
		})
	})
	t.Run("continues for a while after the benchmark was stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if asked, took := logOffs(ctx, refused); asked < 4 || took > requestTimeout+time.Second {
				t.Errorf("%d sessions were ended in %v", asked, took)
			}
		})
	})
	t.Run("stops if the server does not respond", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone := func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF }
			if asked, took := logOffs(t.Context(), gone); asked > 2*remoteSignIns {
				t.Errorf("%d requests within %v", asked, took)
			}
		})
	})
}

func TestSignInStopsAfterItsTries(t *testing.T) {
	f, b := startFake(t)
	f.refuse.Store(1 << 40)
	b.Server.options.Account.Username = "ada"
	sessions, err := b.signIn(t.Context(), 1)
	var refused *statusError
	if !errors.As(err, &refused) || refused.status != http.StatusTooManyRequests || len(sessions) != 0 {
		t.Fatalf("%d sessions, error %v", len(sessions), err)
	}
	if text := err.Error(); !strings.Contains(text, "too_many_attempts") || strings.Contains(text, "lovelace") {
		t.Errorf("error %q", text)
	}
}

func TestAccountsAreNotPrinted(t *testing.T) {
	a := Account{"ada", "lovelace"}
	for _, text := range []string{fmt.Sprint(a), fmt.Sprintf("%v %+v %#v", a, a, &a), a.String()} {
		if strings.Contains(text, "lovelace") {
			t.Errorf("%q", text)
		}
	}
}

// TestRing checks that no two workers share a session, and that all sessions are used.
func TestRing(t *testing.T) {
	const sessions, workers = 10, 4
	all := make([]*browser, sessions)
	for i := range all {
		all[i] = &browser{}
	}
	r := newRing(all, workers)
	owner := map[*browser]int{}
	for worker := range workers {
		for range 3 * sessions {
			b := r.take(worker)
			if of, ok := owner[b]; ok && of != worker {
				t.Fatalf("workers %d and %d share a session", of, worker)
			}
			owner[b] = worker
		}
	}
	if len(owner) != sessions {
		t.Errorf("%d of %d sessions are used", len(owner), sessions)
	}
}

func TestEachStopsAtAnError(t *testing.T) {
	no := errors.New("no")
	var calls atomic.Int64
	err := each(t.Context(), 1000, 3, func(_ context.Context, i int) error {
		calls.Add(1)
		if i == 5 {
			return no
		}
		return nil
	})
	if !errors.Is(err, no) {
		t.Errorf("error %v", err)
	}
	if n := calls.Load(); n == 1000 {
		t.Error("it continued to the end")
	}
	if err := each(t.Context(), 0, 3, nil); err != nil {
		t.Errorf("no calls: %v", err)
	}
}

func TestAudience(t *testing.T) {
	for _, c := range []struct{ payload, want string }{
		{"eyJhdWQiOiJvbmUifQ", "one"},           // {"aud":"one"}
		{"eyJhdWQiOlsib25lIiwidHdvIl19", "one"}, // {"aud":["one","two"]}
		{"eyJhdWQiOltdfQ", ""}, {"e30", ""}, {"?", ""},
	} {
		got, err := audience("e30." + c.payload + ".x")
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, error %v", c.payload, got, err)
		}
	}
	if _, err := audience("no token"); err == nil {
		t.Error("a text that is not a token has an audience")
	}
}

// TestDeliveryWaitsForTheLastSubscriber checks that wait returns when the last subscriber has the
// message, and not before.
func TestDeliveryWaitsForTheLastSubscriber(t *testing.T) {
	h := newDelivery(2)
	h.received()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("one of two subscribers has the message, and wait returned: %v", err)
	}
	before := time.Now()
	h.received()
	if last, err := h.wait(t.Context()); err != nil || last.Before(before) {
		t.Errorf("the last subscriber had the message at %v, error %v", last, err)
	}
}
