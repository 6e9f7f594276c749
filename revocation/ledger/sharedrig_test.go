package ledger_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// cluster is several brokers on one engine, in a synctest bubble.
type cluster struct {
	t       *testing.T
	engine  *memstore.Engine
	members []*member
}

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, engine: memstore.NewEngine(nil)}
}

// member is a broker of a cluster, whose faults and clock a test may change.
type member struct {
	*process
	run   *origins.Run
	fault func(memstore.Op) memstore.Fault // nil for none
	skew  time.Duration                    // of the wall clock
}

// join starts a broker. It does not follow the others before goes.
func (c *cluster) join(change ...func(*ledger.Config)) *member {
	return c.joinWith(0, change...)
}

func (c *cluster) joinWith(skew time.Duration, change ...func(*ledger.Config)) *member {
	c.t.Helper()
	m, err := c.open(skew, change...)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *cluster) open(skew time.Duration, change ...func(*ledger.Config)) (*member, error) {
	m := &member{skew: skew}
	handle := c.engine.Open(func(op memstore.Op) memstore.Fault {
		if m.fault == nil {
			return memstore.OK
		}
		return m.fault(op)
	})
	began := time.Now()
	mono := func() time.Duration { return time.Since(began) }
	wall := func() time.Time { return time.Now().Add(m.skew) }
	run, err := origins.Join(c.t.Context(), origins.Config{Engine: handle, Name: fmt.Sprint("broker", len(c.members)), KEK: "k", Wall: wall, Mono: mono})
	if err != nil {
		return nil, err
	}
	config := ledger.Config{Run: run, Denylist: revocation.NewDenylist(), Wall: wall, Mono: mono}
	for _, fn := range change {
		fn(&config)
	}
	l, err := ledger.Open(c.t.Context(), config)
	if err != nil {
		return nil, err
	}
	m.run, m.process = run, &process{Ledger: l, t: c.t, store: run, denylist: config.Denylist}
	c.t.Cleanup(l.Close)
	c.members = append(c.members, m)
	c.tick()
	return m, nil
}

// tick lets some seconds pass, in which all brokers compare their clocks.
func (c *cluster) tick() {
	for range 7 {
		time.Sleep(time.Second)
		for _, m := range c.members {
			_ = m.run.Tick(c.t.Context())
		}
	}
}

// goes runs the ledger, and ticks each second, until stop is called or the test ends. stop returns the result of Run.
func (m *member) goes() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	ticked := make(chan struct{})
	go func() {
		defer close(ticked)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = m.run.Tick(ctx)
			}
		}
	}()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		<-ticked
		return <-ended
	}
	m.t.Cleanup(func() { _ = stop() })
	return stop
}

// at returns a position of members: their origins with sequence numbers.
func at(pairs ...any) string {
	text := ""
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf("%s.%d", pairs[i].(*member).Origin(), pairs[i+1])
	}
	return text
}

// headsOf returns the heads of an answer.
func headsOf(a revocation.Answer) map[string]uint64 {
	heads := make(map[string]uint64)
	for _, o := range a.Origins {
		heads[o.Origin] = o.Head
	}
	return heads
}

// originKey is the key of the record of a member's run.
func originKey(m *member) string { return origins.Key(m.Origin()) }

// ended returns the record of a run as another broker ends it.
func ended(t *testing.T, stored store.Record) []byte {
	t.Helper()
	r, err := origins.Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	r.Ended, r.Last = true, stored.Revision
	return r.Encode()
}
