package validator

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

// lateLink is a life behind a network that delays all messages, or holds the feed back
// until it drains.
type lateLink struct {
	*life
	sink revocation.Sink

	mu sync.Mutex
	// mu guards everything below.
	delay   time.Duration
	holding bool
	held    [][]byte
	// What was acknowledged, and when by the service's monotonic clock.
	acknowledged []acknowledgement
}

type acknowledgement struct {
	at  time.Duration
	sid string
}

// behind puts a link between a life and the syncer that is not started yet.
func behind(l *life, s *syncer) *lateLink {
	link := &lateLink{life: l}
	s.cfg.Feed, s.broker.http.Transport = link, link
	return link
}

func (k *lateLink) Open(ctx context.Context, sink revocation.Sink) (io.Closer, error) {
	k.sink = sink
	return k.life.Open(ctx, k)
}

func (k *lateLink) Message(raw []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.holding:
		k.held = append(k.held, raw)
	case k.delay > 0:
		time.AfterFunc(k.delay, func() { k.sink.Message(raw) })
	default:
		k.sink.Message(raw)
	}
}

func (k *lateLink) Gap(cause error) { k.sink.Gap(cause) }

func (k *lateLink) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := k.wait(r.Context()); err != nil {
		return nil, err
	}
	resp, err := k.life.RoundTrip(r)
	if err := k.wait(r.Context()); err != nil {
		return nil, err
	}
	return resp, err
}

func (k *lateLink) wait(ctx context.Context) error {
	k.mu.Lock()
	delay := k.delay
	k.mu.Unlock()
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *lateLink) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// drain lets the first n of what is held back through.
func (k *lateLink) drain(n int) {
	k.mu.Lock()
	out := k.held[:n]
	k.held = k.held[n:]
	k.mu.Unlock()
	for _, raw := range out {
		k.sink.Message(raw)
	}
	synctest.Wait()
}

func (k *lateLink) acknowledge(name string) {
	k.revoke(name)
	k.acknowledged = append(k.acknowledged, acknowledgement{monotonic(), name})
}

// live lets time pass with a heartbeat and a revocation each second, and holds the service
// to its word all the while: what was acknowledged before as_of is in force.
func (k *lateLink) live(t *testing.T, s *syncer, d time.Duration, meanwhile func(now time.Duration)) {
	t.Helper()
	for now := time.Duration(0); now < d; now += 50 * time.Millisecond {
		if now%time.Second == 0 {
			k.beat()
		}
		if now%time.Second == 500*time.Millisecond {
			k.acknowledge(fmt.Sprint("s", len(k.acknowledged)))
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		k.keepsItsWord(t, s)
		meanwhile(now)
	}
}

func (k *lateLink) keepsItsWord(t *testing.T, s *syncer) {
	t.Helper()
	asOf := s.now.Load().asOf
	for _, a := range k.acknowledged {
		if a.at < asOf && !sid(s, a.sid) {
			t.Fatalf("%s was acknowledged %v before as_of, and is not in force", a.sid, asOf-a.at)
		}
	}
}

func (k *lateLink) exact(t *testing.T, s *syncer) {
	t.Helper()
	for _, a := range k.acknowledged {
		if !sid(s, a.sid) {
			t.Errorf("%s is not in force", a.sid)
		}
	}
	if !isFresh(s) {
		t.Error("stale")
	}
}

// TestALinkThatDelaysEverything: by 10 s. Catch-ups are given up, heartbeats prove what was
// true 10 s ago: within a bound of 30 s the service is fresh by right, within one of 2 s it
// says that it is stale; and it is quick again when the link is.
func TestALinkThatDelaysEverything(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		k := behind(l, s)
		mustStart(t, s)
		k.live(t, s, 5*time.Second, func(time.Duration) {})
		k.change(func() { k.delay = 10 * time.Second })
		k.live(t, s, time.Minute, func(now time.Duration) {
			if !isFresh(s) {
				t.Fatalf("stale after %v", now)
			}
			if now < 11*time.Second {
				return
			}
			if lag := monotonic() - s.now.Load().asOf; lag < 10*time.Second || lag > 11500*time.Millisecond {
				t.Fatalf("as_of lags by %v after %v", lag, now)
			}
			if s.now.Load().fresh(monotonic(), 2*time.Second) {
				t.Fatal("a route with a bound of 2 s takes it for fresh")
			}
		})
		k.change(func() { k.delay = 0 })
		k.live(t, s, 15*time.Second, func(time.Duration) {})
		if !s.now.Load().fresh(monotonic(), 2*time.Second) {
			t.Error("the link is quick again, and the service is not")
		}
		k.exact(t, s)
	})
}

// TestALinkThatDrainsLate: nothing comes for a minute, then what was held back, all at once.
// Old messages prove only old things.
func TestALinkThatDrainsLate(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		k := behind(l, s)
		mustStart(t, s)
		k.live(t, s, 5*time.Second, func(time.Duration) {})
		k.change(func() { k.holding = true })
		l.set(func() { l.httpDown = true })
		k.live(t, s, time.Minute, func(now time.Duration) {
			if isFresh(s) != (now < defaultMaxStaleness-time.Second) && (now < 28*time.Second || now > 31*time.Second) {
				t.Fatalf("fresh %v after %v without news", isFresh(s), now)
			}
		})
		k.drain(len(k.held) / 3) // up to 40 s ago
		if isFresh(s) {
			t.Error("fresh by what is 40 s old")
		}
		k.keepsItsWord(t, s)
		if !sid(s, k.acknowledged[20].sid) {
			t.Error("what has come is not in force")
		}
		k.drain(len(k.held)) // the last is a second old
		k.exact(t, s)
		k.change(func() { k.holding = false })
		k.live(t, s, 5*time.Second, func(time.Duration) {})
		k.exact(t, s)
	})
}

// TestWallClocksThatAreWrong: the service's is a day off, from the start; nothing but the
// broker's clock counts.
func TestWallClocksThatAreWrong(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		inBubble(t, func(t *testing.T, l *life, s *syncer) {
			l.set(func() { l.wallStep = off })
			k := behind(l, s)
			mustStart(t, s)
			k.live(t, s, 40*time.Second, func(now time.Duration) {
				if !isFresh(s) {
					t.Fatalf("stale after %v", now)
				}
				if d := s.now.Load().brokerMS(monotonic()) - time.Now().UnixMilli(); d < -5 || d > 5 {
					t.Fatalf("the broker's clock is off by %d ms", d)
				}
			})
			k.exact(t, s)
		})
	}
}

// TestClocksThatAreStepped: the service's wall clock, which makes it stale until it asked,
// and the broker's, which it follows.
func TestClocksThatAreStepped(t *testing.T) {
	for _, step := range []time.Duration{-5 * time.Minute, -time.Second, time.Second, 24 * time.Hour} {
		inBubble(t, func(t *testing.T, l *life, s *syncer) {
			k := behind(l, s)
			mustStart(t, s)
			k.live(t, s, 5*time.Second, func(time.Duration) {})
			l.set(func() { l.wallStep, l.httpDown = step, true })
			k.live(t, s, 5*time.Second, func(now time.Duration) {
				if isFresh(s) && now > tickEvery {
					t.Fatalf("fresh only by heartbeats, %[2]v after a step by %[1]v", step, now)
				}
			})
			l.set(func() { l.httpDown = false })
			k.live(t, s, 12*time.Second, func(time.Duration) {})
			k.exact(t, s)

			l.set(func() { l.clockStep = step })
			k.live(t, s, 5*time.Second, func(now time.Duration) {
				if !isFresh(s) {
					t.Fatalf("stale %v after the broker's clock was stepped by %v", now, step)
				}
			})
			want := time.Now().Add(step).UnixMilli()
			if d := s.now.Load().brokerMS(monotonic()) - want; d < -5 || d > 5 {
				t.Errorf("stepped by %v, the service's idea of the broker's clock is off by %d ms", step, d)
			}
			k.exact(t, s)
		})
	}
}

// What the log says of a feed that is down holds: revocations still arrive, over HTTP.
func TestFailingFeedIsReportedWithItsConsequence(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		cause := &tls.CertificateVerificationError{Err: errors.New("not connected to NATS at nats://n:4222")}
		l.linkErr, l.feedDown = cause, true
		mustStart(t, s) // the feed does not keep a service from starting
		time.Sleep(time.Second)
		l.mu.Lock()
		lines := strings.Count(l.log.String(), "level=WARN")
		l.mu.Unlock()
		if lines != 1 || !l.logged("over HTTP every 3 s") || !l.logged("nats://n:4222") {
			t.Errorf("%d lines of %s", lines, l.log.String())
		}
		for range 20 {
			name := rand.Text()
			l.revoke(name)
			time.Sleep(3500 * time.Millisecond)
			if !sid(s, name) || !isFresh(s) {
				t.Fatal("not heard of within 3.5 s without a feed")
			}
		}
		l.set(func() { l.linkErr, l.feedDown = nil, false })
		l.beatFor(5 * time.Second)
		if !l.logged("listening for revocations works again") {
			t.Error("its return is not logged")
		}
	})
}
