package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
)

// heard returns the next event of a listener that is not a heartbeat: its name, the position after it, and the
// batch.
func heard(t *testing.T, l *ledger.Listener) (name, position string) {
	t.Helper()
	for {
		e, err := l.Next(within(t, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name != ledger.StreamHeartbeat {
			return e.Name, e.Position
		}
	}
}

// position returns the position of members in the order of their origins.
func position(pairs ...any) string {
	parts := strings.Split(at(pairs...), ",")
	for i := range parts {
		for j := i + 1; j < len(parts); j++ {
			if parts[j] < parts[i] {
				parts[i], parts[j] = parts[j], parts[i]
			}
		}
	}
	return strings.Join(parts, ",")
}

func TestAListenerGetsTheBatchesOfAllBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		network := &bus{}
		h := hub(t, a.process, network)
		a.goes()
		a.revoke(sid("a1"))
		b.revoke(sid("b1"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		late := listen(t, h, position(a, 1, b, 0))
		fromNow := listen(t, h, "")
		for i := range 3 {
			b.revoke(sid(fmt.Sprint("b", i+2)))
			time.Sleep(2 * time.Second)
		}
		a.revoke(sid("a2"))
		if name, at := heard(t, late); name != "batch" || at != position(a, 1, b, 1) {
			t.Errorf("%s %s", name, at)
		}
		for i := range 3 {
			want := position(a, 1, b, i+2)
			for _, l := range []*ledger.Listener{late, fromNow} {
				if name, at := heard(t, l); name != "batch" || at != want {
					t.Errorf("%s %s, want %s", name, at, want)
				}
			}
		}
		if name, at := heard(t, fromNow); name != "batch" || at != position(a, 2, b, 4) {
			t.Errorf("%s %s", name, at)
		}
		synctest.Wait()
		if got := network.seqs(); got != "1 2" {
			t.Errorf("published to the network: %q, want only the own batches", got)
		}
		for _, unknown := range []string{"x.1", at(a, 3), at(a, 1, b, 9)} {
			if name, at := heard(t, listen(t, h, unknown)); name != "reset" || at != position(a, 2, b, 4) {
				t.Errorf("after %s: %s %s", unknown, name, at)
			}
		}
	})
}

// TestAReconnectAheadOfTheMemory: a service comes from another broker, with a position that this one has not followed yet.
func TestAReconnectAheadOfTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		h := hub(t, a.process, &bus{})
		b.revoke(sid("b1"))
		l := listen(t, h, at(b, 1))
		b.revoke(sid("b2"))
		if err := a.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if name, at := heard(t, l); name != "batch" || at != position(a, 0, b, 2) {
			t.Errorf("%s %s", name, at)
		}
	})
}

func TestListenersThatDoNotSpeak2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.join()
		h := hub(t, a.process, &bus{})
		l, err := h.Listen(t.Context(), "c1", "", 1)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a.revoke(sid("a1"))
		if name, at := heard(t, l); name != "batch" || at != position(a, 1) {
			t.Errorf("%s %s", name, at)
		}
		b := c.join()
		b.revoke(sid("b1"))
		for err == nil {
			_, err = l.Next(within(t, time.Minute))
		}
		if !errors.Is(err, ledger.ErrOutdated) {
			t.Errorf("with two brokers the stream ended by %v", err)
		}
		if _, err := h.Listen(t.Context(), "c1", "", 1); !errors.Is(err, ledger.ErrOutdated) {
			t.Errorf("with two brokers: %v", err)
		}
		ends(t, c, b)
		old, err := h.Listen(t.Context(), "c1", at(a, 0), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		a.revoke(sid("a2"))
		for _, want := range []string{position(a, 1), position(a, 2)} {
			if name, at := heard(t, old); name != "batch" || at != want {
				t.Errorf("%s %s, want %s: only the own batches", name, at, want)
			}
		}
	})
}

// TestABatchOfAnotherBrokerCausesAHeartbeat: services on the network see by its heads what was not published. There are
// at most ten a second.
func TestABatchOfAnotherBrokerCausesAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		network := &bus{}
		hub(t, a.process, network)
		a.goes()
		time.Sleep(10*time.Second + 150*time.Millisecond)
		before := network.heard()
		b.revoke(sid("b1"))
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		beats := network.heard()[len(before):]
		if len(beats) != 1 || beats[0].Heads[b.Origin()] != 1 {
			t.Errorf("%d heartbeats after a batch: %+v", len(beats), beats)
		}
		before = network.heard()
		for i := range 100 {
			b.revoke(sid(fmt.Sprint(i)))
			if err := a.Barrier(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		// Both ends of the second may have one of those that batches cause, and one is that of each second.
		if n := len(network.heard()) - len(before); n < 5 || n > 12 {
			t.Errorf("%d heartbeats in a second", n)
		}
	})
}

func TestPublisherStatsOnASharedEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.join(), c.join()
		network := &bus{}
		network.set(false, true)
		pub, err := ledger.NewPublisher(ledger.PublisherConfig{Ledger: a.Ledger, Bus: network, Sign: sign})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = pub.Run(t.Context()) }()
		defer pub.Close()
		b.revoke(sid("b1"))
		seq := a.revoke(sid("a1"))
		if err := a.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := pub.Stats(); got.Backlog != 1 || got.Oldest != time.Second {
			t.Errorf("%+v", got)
		}
		network.set(false, false)
		if !pub.Flushed(within(t, time.Minute), a.Origin(), seq) || pub.Stats().Backlog != 0 {
			t.Errorf("%+v", pub.Stats())
		}
	})
}

// heard returns the heartbeats on the network.
func (b *bus) heard() []revocation.Heartbeat {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heartbeats[:len(b.heartbeats):len(b.heartbeats)]
}
