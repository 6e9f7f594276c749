package watch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/api/admin"
	"tokenbroker/broker/receipts"
	"tokenbroker/cmd/tokenbroker/internal/watch"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a hub with a ledger, services, and a network that a test flushes.
type lab struct {
	*watch.Hub
	t         *testing.T
	store     store.Store
	ledger    *ledger.Ledger
	network   *network
	collector *receipts.Collector
	names     map[string]string // of the users of sids
	hears     string            // the origin that receipts name
}

// network is a Broadcast that has sent the batches up to flushed.
type network struct {
	mu      sync.Mutex
	flushed uint64
	moved   chan struct{} // closed when flushed moves
}

func (n *network) Flushed(ctx context.Context, _ string, seq uint64) bool {
	for {
		n.mu.Lock()
		flushed, moved := n.flushed, n.moved
		n.mu.Unlock()
		if flushed >= seq {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// inLab runs f in a bubble, in which the hub runs until f returns.
func inLab(t *testing.T, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		mono := func() time.Duration { return time.Since(began) }
		l := &lab{t: t, store: memstore.New(nil), network: &network{moved: make(chan struct{})}}
		var err error
		l.ledger, err = ledger.Open(t.Context(), ledger.Config{Store: l.store, Denylist: revocation.NewDenylist(), Mono: mono})
		if err != nil {
			t.Fatal(err)
		}
		l.collector = receipts.New(receipts.Config{Origin: l.ledger.Origin, Head: l.ledger.Head, Mono: mono})
		l.Hub = watch.New(watch.Config{Ledger: l.ledger, Broadcast: l.network, Receipts: l.collector, Mono: mono, MaxWatchers: 2,
			Username:   func(_ context.Context, e revocation.Event) string { return l.names[e.Value] },
			BrokerName: func(origin string) string { return map[string]string{"oa": "broker-a"}[origin] }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		f(t, l)
	})
}

// revoke commits an event for each value, as one batch.
func (l *lab) revoke(values ...string) {
	l.t.Helper()
	now := time.Now().Unix()
	var events []revocation.Event
	for _, v := range values {
		events = append(events, revocation.Event{Kind: revocation.KindSID, Value: v, At: now, ExpiresAt: now + 60, Reason: revocation.ReasonLogoff})
	}
	if err := l.store.Commit(l.t.Context(), []store.Change{{Events: events}}, l.ledger.Seal)[0]; err != nil {
		l.t.Fatal(err)
	}
	l.ledger.Committed()
}

// flush makes the network report every batch as sent.
func (l *lab) flush() {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.network.flushed = l.ledger.Head()
	close(l.network.moved)
	l.network.moved = make(chan struct{})
}

// receipt delivers a service's receipt for everything up to the head.
func (l *lab) receipt(service string, fresh bool) {
	l.t.Helper()
	raw, err := json.Marshal(revocation.Receipt{V: 1, Service: service + "/1", Applied: map[string]uint64{l.ledger.Origin(): l.ledger.Head()}, Fresh: fresh, Speaker: l.hears})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.collector.Take(receipts.NATS+service, raw); err != nil {
		l.t.Fatal(err)
	}
}

// watch starts a view and waits until the hub has noticed it.
func (l *lab) watch() *watch.Watcher {
	l.t.Helper()
	w, err := l.Watch()
	if err != nil {
		l.t.Fatal(err)
	}
	synctest.Wait()
	return w
}

// expect checks the next events in the form of [text]; "" means that no event is waiting.
func expect(t *testing.T, w *watch.Watcher, want ...string) {
	t.Helper()
	for _, line := range want {
		patience := 5 * time.Second
		if line == "" {
			patience = 0
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		e, err := w.Next(ctx)
		cancel()
		got := ""
		switch {
		case err == nil:
			got = text(t, e)
		case line != "" || !errors.Is(err, context.DeadlineExceeded):
			t.Fatalf("instead of %q: %v", line, err)
		}
		if got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
}

// text returns a short form of an event.
func text(t *testing.T, e admin.WatchEvent) string {
	t.Helper()
	var v struct {
		Type                         string
		Seq                          uint64
		Events                       []revocation.Event
		Users                        map[string]string
		FlushedMS                    *int64 `json:"flushed_ms"`
		Applied, Of                  int
		SlowestMS                    int64 `json:"slowest_ms"`
		Laggards                     []string
		Service, State, Before, What string
		Speaker                      string
		SpeakerName                  string `json:"speaker_name"`
	}
	if err := json.Unmarshal(e.Data, &v); err != nil || v.Type != e.Name || strings.ContainsAny(string(e.Data), "\r\n") {
		t.Fatalf("event %s: %s: %v", e.Name, e.Data, err)
	}
	switch v.Type {
	case admin.WatchTypeRevocation:
		flushed := "pending"
		if v.FlushedMS != nil {
			flushed = fmt.Sprint(*v.FlushedMS, " ms")
		}
		values := make([]string, len(v.Events))
		for i, event := range v.Events {
			values[i] = event.Value
			if name := v.Users[event.Value]; name != "" {
				values[i] += "=" + name
			}
		}
		return fmt.Sprintf("%d %s %s", v.Seq, strings.Join(values, ","), flushed)
	case admin.WatchTypeApplied:
		return strings.TrimSpace(fmt.Sprintf("%d %d/%d %d ms %s", v.Seq, v.Applied, v.Of, v.SlowestMS, strings.Join(v.Laggards, ",")))
	case admin.WatchTypeService:
		hears := ""
		if v.Speaker != "" {
			hears = " " + v.Speaker + "=" + v.SpeakerName
		}
		return fmt.Sprintf("%s %s<%s%s", v.Service, v.State, v.Before, hears)
	default:
		return v.Type + " " + v.What
	}
}
