package origins_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// Up to three brokers, whose clocks are ahead or behind by up to an hour, write records that expire, replace them and sweep. They
// are killed and others join, also in the middle of a pass. A record is deleted only when it has expired by the
// right time and by the clock of each broker that is not silent; when all is quiet, exactly the expired ones are gone.
func TestSweepsDeleteNothingThatIsLive(t *testing.T) {
	seeds := *manySeeds / 2
	if testing.Short() {
		seeds = min(seeds, 40)
	}
	deleted, again := 0, 0
	for seed := *firstSeed; seed < *firstSeed+seeds; seed++ {
		m := newSweepModel(t, seed)
		for n := 0; n < steps && m.failure == ""; n++ {
			m.step()
		}
		m.quiet()
		if m.failure != "" {
			t.Fatalf("replay with -first %d -seeds 1: %s", seed, m.failure)
		}
		deleted, again = deleted+m.deleted, again+m.again
	}
	t.Logf("%d records deleted before the quiet, %d written again during a pass", deleted, again)
	if seeds >= 100 && (deleted < 1000 || again < 50) {
		t.Error("the model does too little")
	}
}

type sweepModel struct {
	*world
	rng     *rand.Rand
	running map[*broker]*origins.Sweep
	audit   *memstore.Handle
	kept    map[string]expiring // what was written last
	inPass  bool
	joined  int
	failure string

	deleted, again int
}

type expiring struct {
	revision store.Revision
	at       int64
}

func newSweepModel(t *testing.T, seed uint64) *sweepModel {
	cryptotest.SetGlobalRandom(t, seed)
	m := &sweepModel{
		world: &world{t: t}, rng: rand.New(rand.NewPCG(seed, 28)),
		running: map[*broker]*origins.Sweep{}, kept: map[string]expiring{},
	}
	m.engine = memstore.NewEngine(func() time.Time { return start.Add(m.now) })
	m.audit = m.engine.Open(nil)
	m.engine.Open(func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpHint {
			m.look()
		}
		return memstore.OK
	}).Follow(t.Context(), "")
	m.join()
	return m
}

func (m *sweepModel) fail(format string, args ...any) {
	if m.failure == "" {
		m.failure = fmt.Sprintf(format, args...)
	}
}

func (m *sweepModel) step() {
	b := m.any()
	switch n := m.rng.IntN(100); {
	case n < 10:
		m.now += time.Duration(m.rng.IntN(20)) * time.Minute
		m.run(2 * time.Second)
	case n < 20:
		m.run(time.Duration(m.rng.IntN(5)) * time.Second)
	case n < 23:
		m.join()
	case n < 25:
		m.kill(b)
	case n < 27:
		b.skew = min(max(b.skew+m.skew(), -time.Hour), time.Hour)
	case n < 70:
		m.write(b)
	case m.inPass:
	case n < 80:
		_, _, _ = b.Collector(m.t.Context())
		fallthrough
	default:
		m.pass(b)
	}
}

// any returns some running broker.
func (m *sweepModel) any() *broker {
	var running []*broker
	for _, b := range m.brokers {
		if m.running[b] != nil {
			running = append(running, b)
		}
	}
	return running[m.rng.IntN(len(running))]
}

func (m *sweepModel) skew() time.Duration {
	if m.rng.IntN(2) == 0 {
		return 0
	}
	return time.Duration(m.rng.IntN(2*3600)-3600) * time.Second
}

func (m *sweepModel) join() {
	if len(m.running) == 3 {
		return
	}
	m.new()
}

// new adds a broker.
func (m *sweepModel) new() *broker {
	m.joined++
	b := m.add(fmt.Sprint("n", m.joined))
	b.skew = m.skew()
	if err := b.join(); err != nil {
		m.t.Fatal(err)
	}
	b.faults = func(op memstore.Op) memstore.Fault { return m.interrupt(b, op) }
	m.running[b] = b.NewSweep(b.handle)
	return b
}

func (m *sweepModel) kill(b *broker) {
	if len(m.running) > 1 && !m.inPass {
		b.stopped = true
		delete(m.running, b)
	}
}

// interrupt lets others run between the reads and the commits of a pass.
func (m *sweepModel) interrupt(b *broker, op memstore.Op) memstore.Fault {
	if m.inPass && !b.stopped && (op.Kind == memstore.OpCommit || op.Kind == memstore.OpList) && m.rng.IntN(4) == 0 {
		b.stopped = true // its turn is taken
		defer func() { b.stopped = false }()
		m.step()
		if m.rng.IntN(10) == 0 {
			return memstore.Refuse
		}
	}
	return memstore.OK
}

func (m *sweepModel) pass(b *broker) {
	m.inPass = true
	before := m.running[b].Deleted()
	_, _ = m.running[b].Pass(m.t.Context())
	m.inPass = false
	m.deleted += int(m.running[b].Deleted() - before)
}

// write creates a record that expires, or writes it again.
func (m *sweepModel) write(b *broker) {
	if m.inPass && b.stopped {
		return
	}
	key := fmt.Sprint("k", m.rng.IntN(30))
	r, _ := b.Get(m.t.Context(), key)
	at := start.Add(m.now + b.skew + time.Duration(m.rng.IntN(30))*time.Minute).Unix()
	w := store.Write{Key: key, Value: []byte("v"), Expect: r.Revision, ExpiresAt: at}
	if b.Commit(m.t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0] != nil {
		return
	}
	records, _, _ := m.audit.Expired(m.t.Context(), 1<<60, "", 1<<20)
	for _, r := range records {
		if r.Key == key {
			if m.kept[key].revision != 0 && m.inPass {
				m.again++
			}
			m.kept[key] = expiring{r.Revision, at}
			return
		}
	}
	m.fail("%s is not there after it was written", key)
}

// look finds out what was deleted.
func (m *sweepModel) look() {
	there := map[string]bool{}
	records, _, _ := m.audit.Expired(m.t.Context(), 1<<60, "", 1<<20)
	for _, r := range records {
		there[r.Key] = true
	}
	for key, kept := range m.kept {
		if there[key] {
			continue
		}
		delete(m.kept, key)
		if now := start.Add(m.now); now.Unix() < kept.at {
			m.fail("%s was deleted %d s before it expires", key, kept.at-now.Unix())
		}
		for b := range m.running {
			clock := start.Add(m.now + b.skew)
			if _, silent := b.Silent(); !silent && clock.Unix() < kept.at {
				m.fail("%s was deleted %d s before it expires by the clock of %s", key, kept.at-clock.Unix(), b.name)
			}
		}
	}
}

// quiet leaves one broker, which is new and has the right time.
func (m *sweepModel) quiet() {
	b := m.new()
	for other := range m.running {
		if other != b {
			m.kill(other)
		}
	}
	b.skew, b.faults = 0, nil
	m.now += 3 * time.Hour
	fresh := expiring{at: start.Add(m.now + time.Minute).Unix()}
	w := store.Write{Key: "fresh", Blind: true, ExpiresAt: fresh.at}
	wantErr(m.t, b.Commit(m.t.Context(), []store.Change{{Writes: []store.Write{w}}, {Writes: []store.Write{{Key: "without", Blind: true}}}}, nil)[0], nil)
	m.run(45 * time.Second) // the others are ended
	if _, ok, err := b.Collector(m.t.Context()); !ok || err != nil {
		m.t.Fatal(ok, err)
	}
	if done, err := m.running[b].Pass(m.t.Context()); !done || err != nil {
		m.t.Fatal(done, err)
	}
	left, _, _ := m.audit.Expired(m.t.Context(), 1<<60, "", 1<<20)
	if len(left) != 1 || left[0].Key != "fresh" {
		m.fail("left: %v", left)
	}
	if _, err := m.audit.Get(m.t.Context(), "without"); err != nil {
		m.fail("the record without an expiry: %v", err)
	}
}
