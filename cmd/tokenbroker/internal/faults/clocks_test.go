package faults_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// setClocks starts a broker with a wrong clock. It is not ready and signs nothing, and services do not hear it.
func (c *cluster) setClocks(t *testing.T, l *load) {
	const wrong = 2
	heard := c.heartbeats(t)
	client := c.etcd(t)
	for _, offset := range []string{"3s", "-3s", "1h", "-1h"} {
		batches := records(t, client, "ledger.batch.")
		c.restart(t, wrong, "FAULTS_CLOCK_OFFSET="+offset)
		p := c.brokers[wrong]
		eventually(t, "the broker knows that its clock is wrong by "+offset, func() bool { return p.out.count("off the median of 3 brokers") > 0 })
		c.silent(t, wrong)
		for i := range size {
			if i != wrong {
				eventually(t, fmt.Sprintf("broker %d is ready while the clock of another one is wrong by %s", i, offset), func() bool { return c.ready(t, i) })
			}
		}
		origin := c.overview(t, wrong).Ledger.Origin
		l.through(t, "with a clock that is wrong by "+offset)
		c.silent(t, wrong)
		if n := heard.of(origin); n != 0 {
			t.Errorf("a broker whose clock is wrong by %s sent %d heartbeats", offset, n)
		}
		if n := heard.of(c.overview(t, 0).Ledger.Origin); n == 0 {
			t.Error("the other brokers sent no heartbeats")
		}
		if after := records(t, client, "ledger.batch."); after < batches {
			t.Errorf("%d of %d batches were collected early", batches-after, batches)
		}
		if floor := timeFloor(t, client); floor.After(time.Now()) {
			t.Errorf("the time floor is %s ahead", time.Until(floor))
		}
	}
	c.restart(t, wrong)
	c.allReady(t)
}

// silent checks that broker i answers nothing that would rest on its clock.
func (c *cluster) silent(t *testing.T, i int) {
	t.Helper()
	if c.ready(t, i) {
		t.Errorf("broker %d is ready", i)
	}
	for _, path := range []string{"/.well-known/jwks.json", "/revocations?speaks=2"} {
		a := given(t, func() answer { return answer{status: c.status(t, i, path)} })
		if a.status != http.StatusServiceUnavailable {
			t.Errorf("broker %d answers %s with %d", i, path, a.status)
		}
	}
	for what, send := range map[string]func() answer{
		"a sign-in": func() answer { _, a := c.signIn(i, c.users[0]); return a },
		"a check":   func() answer { _, _, a := c.check(i, ""); return a },
		"a refresh": func() answer { return c.refresh(i, visit{}) },
		"a log-off": func() answer { return c.logOff(i, visit{}) },
	} {
		a := given(t, send)
		if a.status != http.StatusServiceUnavailable || a.retry == "" || a.cleared {
			t.Errorf("broker %d answers %s with %d, Retry-After %q, cookie cleared %t", i, what, a.status, a.retry, a.cleared)
		}
	}
}

// heartbeats counts heartbeats on NATS by the origin that sent them.
type heartbeats struct {
	mu sync.Mutex
	n  map[string]int // guarded by mu
}

func (h *heartbeats) of(origin string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n[origin]
}

func (c *cluster) heartbeats(t *testing.T) *heartbeats {
	t.Helper()
	h := &heartbeats{n: map[string]int{}}
	conn, err := nats.Connect(c.natsURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	_, err = conn.Subscribe("tokenbroker.heartbeat.>", func(m *nats.Msg) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.n[m.Subject[len("tokenbroker.heartbeat."):]]++
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return h
}
