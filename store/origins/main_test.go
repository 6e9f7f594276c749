package origins_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// world is brokers on one engine in simulated time, on one goroutine.
type world struct {
	t       *testing.T
	now     time.Duration
	engine  *memstore.Engine
	brokers []*broker
	each    func() // called each second, if it is not nil
}

func newWorld(t *testing.T) *world {
	return &world{t: t, engine: memstore.NewEngine(func() time.Time { return start })}
}

var start = time.UnixMilli(1_800_000_000_000)

// broker is one broker of a world. Its fields may be changed at any time.
type broker struct {
	*origins.Run
	world       *world
	name        string
	skew        time.Duration
	kek         string
	issuer      string
	life        time.Duration
	grace       time.Duration
	outdated    []string
	asked       int // for outdated
	force       bool
	maintenance string
	speaks      [2]int
	stopped     bool
	faults      func(memstore.Op) memstore.Fault
	handle      *memstore.Handle
	slept       func(time.Duration) // called before each pause, if it is not nil
	log         bytes.Buffer
}

// add adds a broker that has not joined.
func (w *world) add(name string) *broker {
	b := &broker{world: w, name: name, kek: "kek", grace: 10 * time.Second, stopped: true}
	w.brokers = append(w.brokers, b)
	return b
}

// join adds a broker that has joined.
func (w *world) join(name string) *broker {
	w.t.Helper()
	b := w.add(name)
	if err := b.join(); err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (b *broker) join() error {
	b.handle = b.world.engine.Open(func(op memstore.Op) memstore.Fault {
		if b.faults == nil {
			return memstore.OK
		}
		return b.faults(op)
	})
	return b.joinOn(b.handle)
}

func (b *broker) joinOn(engine store.Engine) error {
	run, err := origins.Join(b.world.t.Context(), origins.Config{
		Engine: engine, Name: b.name, Address: b.name + ".example", Build: "test", KEK: b.kek, Force: b.force, Maintenance: b.maintenance, Issuer: b.issuer, AccessLife: b.life, Speaks: b.speaks,
		Wall:     func() time.Time { return start.Add(b.world.now + b.skew) },
		Mono:     func() time.Duration { return b.world.now },
		Sleep:    b.sleep,
		Outdated: func() []string { b.asked++; return b.outdated },
		Grace:    b.grace,
		Logger:   slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	b.Run, b.stopped = run, err != nil
	return err
}

// sleep lets the others run.
func (b *broker) sleep(ctx context.Context, d time.Duration) error {
	if b.slept != nil {
		b.slept(d)
	}
	if d < time.Second {
		b.world.now += d
		return ctx.Err()
	}
	was := b.stopped
	b.stopped = true
	b.world.run(d)
	b.stopped = was
	return ctx.Err()
}

// run lets time pass; each broker that is not stopped ticks each second.
func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += time.Second
		if w.each != nil {
			w.each()
		}
		for _, b := range w.brokers {
			if !b.stopped && b.Run != nil {
				_ = b.Tick(w.t.Context())
			}
		}
	}
}

// put commits one record.
func (b *broker) put(key string, expect store.Revision) error {
	return b.Commit(b.world.t.Context(), []store.Change{{Writes: []store.Write{{Key: key, Value: []byte(b.name), Expect: expect}}}}, nil)[0]
}

// revoke records an event in the next batch.
func (b *broker) revoke(value string) error {
	return b.Commit(b.world.t.Context(), []store.Change{ends(value)}, b.seal)[0]
}

func (b *broker) seal(events []revocation.Event) ([]store.Write, error) {
	return []store.Write{{Key: batch(b.Origin(), b.Head()+1), Value: []byte(events[0].Value)}}, nil
}

func batch(origin string, seq uint64) string {
	return fmt.Sprintf("ledger.batch.%s.%016x", origin, seq)
}

func (w *world) view(b *broker) *origins.View {
	w.t.Helper()
	v, err := b.View(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// record returns the record of an origin.
func (w *world) record(id string) (origins.Record, bool) {
	w.t.Helper()
	stored, err := w.engine.Open(nil).Get(w.t.Context(), origins.Key(id))
	if errors.Is(err, store.ErrNotFound) {
		return origins.Record{}, false
	}
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := origins.Decode(stored)
	if err != nil {
		w.t.Fatal(err)
	}
	return r, true
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Fatalf("got %v, want %v", got, want)
	}
}
