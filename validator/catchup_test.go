package validator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

func TestCatchUpsAreReadByTheirContentType(t *testing.T) {
	answer := &revocation.Answer{
		V: 1, Store: "S", Origin: "o1", Origins: []revocation.OriginHead{{Origin: "o1", Head: 3}},
		Events: []revocation.Event{{Kind: revocation.KindSID, Value: "s1", ExpiresAt: 900}},
	}
	encode := func(as revocation.Form) string {
		var b bytes.Buffer
		if err := revocation.EncodeAnswer(&b, as, answer); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	text, packed := encode(revocation.FormJSON), encode(revocation.FormBinary)
	tests := []struct {
		name, kind, body string
		good             bool
	}{
		{"JSON", "application/json", text, true},
		{"JSON with a charset", "application/json; charset=utf-8", text, true},
		{"the binary form", "application/vnd.tokenbroker.revocations", packed, true},
		{"the binary form as JSON", "application/json", packed, false},
		{"JSON as the binary form", "application/vnd.tokenbroker.revocations", text, false},
		{"the binary form, cut short", "application/vnd.tokenbroker.revocations", packed[:len(packed)-1], false},
		{"the binary form of another version", "application/vnd.tokenbroker.revocations", strings.Replace(packed, "TBR\x01", "TBR\x02", 1), false},
		{"a key set's type", "application/jwk-set+json", text, false},
		{"a page", "text/html", text, false},
		{"no type", "", text, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBrokerClient(fakeIssuer, Client{}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				h := http.Header{"Content-Type": {tt.kind}}
				return &http.Response{StatusCode: 200, Header: h, Body: io.NopCloser(strings.NewReader(tt.body)), Request: r}, nil
			})})
			got, err := b.fetchCatchUp(t.Context(), "", revocation.NewDenylist())
			if (err == nil) != tt.good || tt.good && (len(got.Events) != 1 || got.Events[0].Value != "s1") {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSyncReadsTheBinaryForm: a service lives on it as on JSON.
func TestSyncReadsTheBinaryForm(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		l.set(func() { l.binary, l.kids = true, []string{"dead"} })
		l.revoke("before")
		mustStart(t, s)
		l.set(func() { l.feedDown = true })
		l.revoke("lost")
		time.Sleep(4 * time.Second)
		if !sid(s, "before") || !sid(s, "lost") || !s.denylist().KidRevoked("dead") || !isFresh(s) {
			t.Error("not in force")
		}
	})
}

// TestAServiceAsksAgainUntilTheAnswerIsReady: each time after the time that the broker names, from the
// first start on, until the answer is there.
func TestAServiceAsksAgainUntilTheAnswerIsReady(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		l.revoke("before")
		began, asked := time.Now(), 0
		s.broker.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path != "/revocations" {
				return l.RoundTrip(r)
			}
			asked++
			if time.Since(began) > time.Minute {
				return l.RoundTrip(r)
			}
			time.Sleep(3 * time.Second)
			return &http.Response{
				StatusCode: http.StatusServiceUnavailable, Status: "503 Service Unavailable",
				Header: http.Header{"Retry-After": {"1"}}, Body: http.NoBody, Request: r,
			}, nil
		})
		mustStart(t, s)
		if took := time.Since(began); took > 65*time.Second || asked < 14 || asked > 17 {
			t.Errorf("started after %s with %d requests", took, asked)
		}
		if !sid(s, "before") || !l.logged("503 Service Unavailable: it asks for another try after 1s") {
			t.Error("not in force, or the log does not say why it took so long")
		}
	})
}

// TestBrokerThatSendsInterimResponsesIsWaitedFor: a broker of an earlier version sends 102 while it is at work,
// and each counts as a byte; silence does not.
func TestBrokerThatSendsInterimResponsesIsWaitedFor(t *testing.T) {
	for _, silent := range []bool{false, true} {
		inBubble(t, func(t *testing.T, l *life, s *syncer) {
			s.broker.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				for range 10 {
					select {
					case <-time.After(time.Second):
					case <-r.Context().Done():
						return nil, r.Context().Err()
					}
					if !silent {
						if err := httptrace.ContextClientTrace(r.Context()).Got1xxResponse(102, nil); err != nil {
							t.Error(err)
						}
					}
				}
				return l.RoundTrip(r)
			})
			_, err := s.broker.fetchCatchUp(t.Context(), "", s.denied)
			if silent != errors.Is(err, errSilent) || !silent && err != nil {
				t.Errorf("silent %v: %v", silent, err)
			}
		})
	}
}

// slowLife delays each request before the view is taken, and the answer after.
type slowLife struct {
	*life
	mu     sync.Mutex
	random *rand.Rand // mu guards it
}

func (l *slowLife) RoundTrip(r *http.Request) (*http.Response, error) {
	l.pause()
	resp, err := l.life.RoundTrip(r)
	l.pause()
	return resp, err
}

func (l *slowLife) pause() {
	l.mu.Lock()
	d := time.Duration(l.random.IntN(40)) * time.Millisecond
	l.mu.Unlock()
	time.Sleep(d)
}

// TestNoRevokedTokenPassesInTheWindowOfAStart records revocations, in fake time and in
// tight turns, before and while a service starts, with different requests slow at different moments. In
// the instant in which start returns each that was acknowledged is in force: no view,
// however late its answer, and no message, however early, falls between the two.
func TestNoRevokedTokenPassesInTheWindowOfAStart(t *testing.T) {
	for seed := range uint64(150) {
		inBubble(t, func(t *testing.T, l *life, s *syncer) {
			slow := &slowLife{life: l, random: rand.New(rand.NewPCG(seed, 13))}
			s.broker.http.Transport = slow
			l.set(func() { l.binary = seed%2 == 0 })
			for i := range seed % 3 {
				l.revoke(fmt.Sprint("before", i))
			}
			var mu sync.Mutex
			var acknowledged []string // mu guards it
			stop := make(chan struct{})
			var recorder sync.WaitGroup
			recorder.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(1+i%3) * time.Millisecond):
					}
					l.revoke(fmt.Sprint("s", i))
					mu.Lock()
					acknowledged = append(acknowledged, fmt.Sprint("s", i))
					mu.Unlock()
				}
			})
			mustStart(t, s)
			mu.Lock()
			known := acknowledged
			mu.Unlock()
			synctest.Wait() // what was delivered by now is taken in; the clock stands still
			for i := range seed % 3 {
				if name := fmt.Sprint("before", i); !sid(s, name) {
					t.Errorf("seed %d: %s passes", seed, name)
				}
			}
			for _, name := range known {
				if !sid(s, name) {
					t.Errorf("seed %d: %s passes; %d were acknowledged", seed, name, len(known))
					break
				}
			}
			if len(known) < 5 {
				t.Errorf("seed %d: only %d revocations in the window", seed, len(known))
			}
			close(stop)
			recorder.Wait()
		})
	}
}
