package validator

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/internal/pipehttp"
)

// balancer connects to several brokers in turn, as a load balancer of connections does.
type balancer struct {
	brokers []*http.Transport // each connects to one broker
	dials   atomic.Int64
	conns   atomic.Int64
}

// connection is the key of a request's context for the number of its connection.
type connection struct{}

func (b *balancer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	next := b.dials.Add(1) - 1
	return b.brokers[int(next)%len(b.brokers)].DialContext(ctx, network, addr)
}

// add starts a broker behind the balancer.
func (b *balancer) add(t *testing.T, handler http.HandlerFunc) {
	srv := &httptest.Server{Config: &http.Server{Handler: handler, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connection{}, b.conns.Add(1))
	}}}
	pipehttp.Start(t, srv)
	b.brokers = append(b.brokers, srv.Client().Transport.(*http.Transport))
}

// follow makes a syncer that is not started send its requests through the balancer.
func (b *balancer) follow(s *syncer) {
	// One connection at a time, so that the first broker keeps every request until it is given up.
	transport := &http.Transport{DialContext: b.dial, MaxConnsPerHost: 1}
	s.broker = newBrokerClient(s.cfg.Issuer, s.cfg.Client, &http.Client{Transport: transport})
}

// TestAFailedCatchUpIsRepeatedOverANewConnection: a broker that is cut off from the store answers 503 on a connection
// that it keeps. The next attempt reaches another broker behind the balancer, and later ones stay there.
func TestAFailedCatchUpIsRepeatedOverANewConnection(t *testing.T) {
	for name, refuse := range map[string]http.HandlerFunc{
		"503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"503 with Retry-After": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"unavailable"}`))
		},
		"silence": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *life, s *syncer) {
				b := &balancer{}
				var mu sync.Mutex
				refused := map[any]int{} // catch-ups by connection; mu guards it
				b.add(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/revocations" {
						l.answer(w, r)
						return
					}
					mu.Lock()
					refused[r.Context().Value(connection{})]++
					mu.Unlock()
					refuse(w, r)
				})
				b.add(t, l.answer)
				b.follow(s)
				l.revoke("before")
				s.cfg.StartTimeout = time.Minute
				mustStart(t, s)
				time.Sleep(30 * time.Second) // no heartbeat: it polls
				if !isFresh(s) || !sid(s, "before") {
					t.Error("the service did not reach the other broker")
				}
				mu.Lock()
				defer mu.Unlock()
				for conn, n := range refused {
					if n > 1 {
						t.Errorf("connection %v was used for %d refused catch-ups", conn, n)
					}
				}
				if len(refused) == 0 || len(refused) > 3 || b.dials.Load() > 6 {
					t.Errorf("%d refused catch-ups and %d connections", len(refused), b.dials.Load())
				}
			})
		})
	}
}

// TestEveryFailedRequestIsRepeatedOverANewConnection: a broker that cannot read its keyring refuses the key sets, and one that
// is cut off from the store refuses introspections.
func TestEveryFailedRequestIsRepeatedOverANewConnection(t *testing.T) {
	for _, path := range []string{"/keys", "/revocations/jwks.json", "/oauth2/introspect"} {
		t.Run(path, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *life, s *syncer) {
				serve := func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/oauth2/introspect" {
						l.json(w, map[string]any{"active": true})
						return
					}
					l.answer(w, r)
				}
				b := &balancer{}
				b.add(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == path {
						w.WriteHeader(http.StatusServiceUnavailable)
						return
					}
					serve(w, r)
				})
				b.add(t, serve)
				b.follow(s)
				s.cfg.StartTimeout = time.Minute
				mustStart(t, s)
				if path != "/oauth2/introspect" {
					return
				}
				i := newIntrospector(s.broker, s.denied, s.cfg.Logger)
				defer i.close()
				_, err := i.active(t.Context(), "a token", 0)
				active, again := i.active(t.Context(), "a token", 0)
				if err == nil || again != nil || !active {
					t.Errorf("introspections: %v, then %t, %v", err, active, again)
				}
			})
		})
	}
}

// TestACatchUpStatesItsProtocol: the first request, without a position, and later ones with it.
func TestACatchUpStatesItsProtocol(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		var queries []string
		l.set(func() {
			l.instead = func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/revocations" {
					l.set(func() { queries = append(queries, r.URL.RawQuery) })
				}
				return nil, nil
			}
		})
		mustStart(t, s)
		time.Sleep(4 * time.Second)
		l.set(func() {
			if len(queries) < 2 || queries[0] != "speaks=2" || queries[1] != "after=o1.0&speaks=2" {
				t.Errorf("the catch-ups are %q", queries)
			}
		})
	})
}

// TestARefusalOfTheProtocolIsReported: to the log of a service that runs, and by the start of another. An unrelated
// 406 is not taken for it.
func TestARefusalOfTheProtocolIsReported(t *testing.T) {
	const want = "/revocations answers 406 Not Acceptable (protocol_outdated): the brokers do not answer requests of protocol 2; " +
		"update the validator, or check that no proxy removes the query"
	refuse := func(l *life, body string) {
		l.set(func() {
			l.instead = func(r *http.Request) (*http.Response, error) {
				if r.URL.Path != "/revocations" {
					return nil, nil
				}
				return &http.Response{
					StatusCode: http.StatusNotAcceptable, Status: "406 Not Acceptable", Body: io.NopCloser(strings.NewReader(body)), Request: r,
				}, nil
			}
		})
	}
	const outdated = `{"status":406,"code":"protocol_outdated"}`
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		refuse(l, outdated)
		time.Sleep(40 * time.Second)
		if isFresh(s) || !l.logged(want) {
			t.Error("it is fresh, or the log does not have the reason")
		}
	})
	for body, known := range map[string]bool{outdated: true, "": false, `{"code":"other"}`: false} {
		inBubble(t, func(t *testing.T, l *life, s *syncer) {
			refuse(l, body)
			err := s.start(t.Context())
			if err == nil || strings.Contains(err.Error(), want) != known || !strings.Contains(err.Error(), "/revocations answers 406") {
				t.Errorf("with %q the start fails with %v", body, err)
			}
		})
	}
}
