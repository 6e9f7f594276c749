package node_test

import (
	"errors"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

// TestTheBrokerIsCutOffFromNATS checks that a broker without NATS answers 202, and that a service
// stays fresh and learns of log-offs by polling. After the link is restored, log-offs again reach
// the service at once.
func TestTheBrokerIsCutOffFromNATS(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	for name, away := range map[string]func(*link){"reset": (*link).doCut, "black hole": (*link).doSilence} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.startNATS()
			via := newLink(t, loopback(l.natsPort))
			l.brokerNATS = "nats://" + via.addr()
			l.startBroker()
			l.checkReady("ready")
			v := l.startService(0)
			kept, ended := l.signIn(), l.signIn()
			away(via)
			if status := ended.logOff(); status != http.StatusAccepted {
				t.Errorf("log-off without NATS: %d", status)
			}
			l.refused(v, ended)
			l.polled(v, func() {
				if err := l.validate(v, kept); err != nil {
					t.Fatalf("a good token: %v", err)
				}
			})
			via.mend()
			l.refusedAtOnce(v)
			l.accepted(v, kept)
		})
	}
}

// TestAServiceIsCutOffFromNATS checks that the service stays fresh by polling, for every kind of link
// failure including those in only one direction, and that log-offs reach it at once again after the
// link is restored.
func TestAServiceIsCutOffFromNATS(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	for name, away := range map[string]func(*link){
		"reset": (*link).doCut, "black hole": (*link).doSilence,
		"nothing comes": (*link).doDeafen, "nothing goes": (*link).doMute,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.startNATS()
			via := newLink(t, loopback(l.natsPort))
			l.feedURL = "nats://" + via.addr()
			l.startBroker()
			l.checkReady("ready")
			v := l.startService(0)
			kept, ended := l.signIn(), l.signIn()
			away(via)
			if status := ended.logOff(); status != http.StatusOK {
				t.Errorf("log-off at a broker that has NATS: %d", status)
			}
			l.refused(v, ended)
			l.polled(v, func() {
				if err := l.validate(v, kept); err != nil {
					t.Fatalf("a good token: %v", err)
				}
			})
			via.mend()
			l.refusedAtOnce(v)
			l.accepted(v, kept)
			l.live(v)
		})
	}
}

// TestPoliciesOfACutOffService cuts three services off from everything except introspection. Each
// follows its policy, logs each change of state once, and is correct after the link is restored.
func TestPoliciesOfACutOffService(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	viaNATS := newLink(t, loopback(l.natsPort))
	l.feedURL = "nats://" + viaNATS.addr()
	l.startBroker()
	l.checkReady("ready")
	catchUps := &blockade{path: "/revocations", next: &http.Transport{}}
	t.Cleanup(catchUps.next.CloseIdleConnections)
	services, logs := map[validator.Policy]*validator.Validator{}, map[validator.Policy]*logBuffer{}
	for _, policy := range []validator.Policy{validator.FailClosed, validator.Introspect, validator.InsecureServeStale} {
		logs[policy] = &logBuffer{}
		services[policy] = l.startService(1500*time.Millisecond, func(c *validator.Config) {
			c.OnStale, c.HTTPClient = policy, &http.Client{Transport: catchUps}
			c.Logger = slog.New(slog.NewTextHandler(logs[policy], nil))
		})
	}
	kept, ended := l.signIn(), l.signIn()
	for _, v := range services {
		l.accepted(v, kept)
		l.accepted(v, ended)
	}
	viaNATS.doSilence()
	catchUps.closed.Store(true)
	if status := ended.logOff(); status != http.StatusOK {
		t.Fatalf("log-off: %d", status)
	}
	for policy, want := range map[validator.Policy][2]int{ // kept, ended
		validator.FailClosed:         {http.StatusServiceUnavailable, http.StatusServiceUnavailable},
		validator.Introspect:         {http.StatusOK, http.StatusUnauthorized},
		validator.InsecureServeStale: {http.StatusOK, http.StatusOK},
	} {
		v := services[policy]
		eventually(t, string(policy)+" is stale", func() bool { return !v.Stats().Fresh })
		if got := [2]int{l.serve(v, kept), l.serve(v, ended)}; got != want {
			t.Errorf("%s: %v, want %v", policy, got, want)
		}
		if policy != validator.Introspect {
			if got := l.serve(v, kept, httpauth.MaxStaleness(time.Second)); got != http.StatusServiceUnavailable {
				t.Errorf("%s: a route with its own bound answers %d", policy, got)
			}
		}
	}
	catchUps.closed.Store(false)
	viaNATS.mend()
	for policy, v := range services {
		l.refused(v, ended)
		l.accepted(v, kept)
		eventually(t, "a line says so", func() bool { return strings.Count(logs[policy].String(), "revocations are current") == 2 })
		if n := strings.Count(logs[policy].String(), "not known to be current"); n != 1 {
			t.Errorf("%s: %d log lines report that it is stale", policy, n)
		}
	}
}

// TestTheStoreIsReplaced replaces the store by another, as a restore does. A running service follows:
// it refuses the tokens of the first store, accepts those of the second, and receives revocations
// at once.
func TestTheStoreIsReplaced(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	l.checkReady("ready")
	v := l.startService(5 * time.Second)
	old := l.signIn()
	l.accepted(v, old)
	l.stopBroker()
	if err := os.RemoveAll(l.dir); err != nil {
		t.Fatal(err)
	}
	l.startBroker()
	eventually(t, "a token of the old store is refused", func() bool {
		err := l.validate(v, old)
		return errors.Is(err, validator.ErrInvalid) || errors.Is(err, validator.ErrRevoked)
	})
	fresh := l.signIn()
	eventually(t, "a token of the new store is good", func() bool { return l.validate(v, fresh) == nil })
	l.checkReady("ready")
	l.refusedAtOnce(v)
	if err := l.validate(v, old); err == nil {
		t.Error("a token of the old store is accepted again")
	}
}

// TestTwoStoresUnderOneIssuer starts a second broker, with its own store, for the same issuer. While
// it is connected only to NATS, its feed key is not the issuer's, and its messages are ignored. While
// both answer at one address, the service cannot know which is right: it is stale and logs the
// reason until one of them is stopped.
func TestTwoStoresUnderOneIssuer(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	front := newSwitchboard(t)
	l := newLab(t)
	l.issuer = front.server.URL
	l.startNATS()
	via := newLink(t, loopback(l.natsPort))
	l.feedURL = "nats://" + via.addr()
	l.startBroker()
	front.brokers.Store(&[]string{l.listen})
	l.checkReady("ready")
	lines := &logBuffer{}
	v := l.startService(2*time.Second, func(c *validator.Config) { c.Logger = slog.New(slog.NewTextHandler(lines, nil)) })
	kept := l.signIn()
	l.accepted(v, kept)

	second := newLab(t)
	second.natsPort, second.issuer = l.natsPort, l.issuer
	second.startBroker()
	eventually(t, "its messages are counted", func() bool { return v.Stats().Feed.UnknownKey > 2 })
	l.accepted(v, kept)
	l.refusedAtOnce(v)

	ended := l.signIn()
	front.brokers.Store(&[]string{l.listen, second.listen})
	eventually(t, "the log says why", func() bool {
		caughtUp := v.Stats().Feed.CatchUps
		via.doCut() // each reconnect causes a catch-up
		via.mend()
		eventually(t, "a catch-up", func() bool { return v.Stats().Feed.CatchUps > caughtUp })
		return strings.Contains(lines.String(), "two stores speak for this issuer") && !v.Stats().Fresh
	})
	ended.logOff()
	front.brokers.Store(&[]string{l.listen})
	second.stopBroker()
	l.refused(v, ended)
	l.accepted(v, kept)
	l.refusedAtOnce(v)
}

// switchboard forwards each request to any one of the brokers behind it.
type switchboard struct {
	server  *httptest.Server
	brokers atomic.Pointer[[]string] // addresses
}

func newSwitchboard(t *testing.T) *switchboard {
	t.Helper()
	s := &switchboard{}
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{Transport: transport, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		turns := *s.brokers.Load()
		r.SetURL(&url.URL{Scheme: "http", Host: turns[rand.IntN(len(turns))]})
	}}
	s.server = httptest.NewServer(proxy)
	t.Cleanup(func() { s.server.Close(); transport.CloseIdleConnections() })
	return s
}

// blockade refuses requests to one path while it is closed.
type blockade struct {
	path   string
	next   *http.Transport
	closed atomic.Bool
}

func (b *blockade) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.closed.Load() && r.URL.Path == b.path {
		return nil, io.ErrUnexpectedEOF
	}
	return b.next.RoundTrip(r)
}
