package origins_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

var (
	firstSeed = flag.Uint64("first", 1, "the first seed to run")
	manySeeds = flag.Uint64("seeds", 200, "how many seeds to run")
)

// Three brokers commit on one engine, whose answers get lost and whose commits arrive late or twice; they end each other's
// origins, crash and join again, also while one of them waits. The twin in truth_test.go sees every transaction.
func TestRunsAgreeWithWhatHappened(t *testing.T) {
	switch {
	case os.Getenv("TEST_LONG") != "":
		*manySeeds = max(*manySeeds, 10_000)
	case testing.Short():
		*manySeeds = min(*manySeeds, 40)
	}
	var all truth
	for seed := *firstSeed; seed < *firstSeed+*manySeeds; seed++ {
		got := simulate(t, seed, noBug)
		if got.failure != "" {
			t.Fatalf("replay with -first %d -seeds 1: %s", seed, got.failure)
		}
		all.nils, all.uncertain, all.fenced, all.settled = all.nils+got.nils, all.uncertain+got.uncertain, all.fenced+got.fenced, all.settled+got.settled
		all.raised, all.tooOld = all.raised+got.raised, all.tooOld+got.tooOld
	}
	t.Logf("%d steps; changes: %d written, %d uncertain, %d fenced, %d conflicts that had happened; %d raised versions, %d programs too old",
		*manySeeds*steps, all.nils, all.uncertain, all.fenced, all.settled, all.raised, all.tooOld)
	if *manySeeds >= 200 && (all.nils < 10_000 || all.uncertain < 500 || all.fenced < 500 || all.settled < 100 || all.raised < 50 || all.tooOld < 5) {
		t.Error("the model does too little")
	}
}

// steps of a seed.
const steps = 150

// simulate runs a seed until something is wrong.
func simulate(t *testing.T, seed uint64, planted bug) truth {
	cryptotest.SetGlobalRandom(t, seed)
	m := newModel(t, seed, planted)
	for n := 0; n < steps && m.truth.failure == ""; n++ {
		m.step()
	}
	return m.truth
}

func TestPlantedBugsAreFound(t *testing.T) {
	for _, planted := range []struct {
		name string
		bug  bug
	}{
		{"a settlement does not move the fence", settleInPlace},
		{"a refused compare is taken for never", refusedIsNever},
		{"an origin is ended without compare-and-set", endBlindly},
		{"the head is moved outside the commit", headOutside},
		{"the head moves though the group is refused", headAlways},
		{"the version is raised without compare-and-set", raiseBlindly},
		{"a broker joins without the record of the version", joinBesides},
	} {
		t.Run(planted.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 600; seed++ {
				if got := simulate(t, seed, planted.bug); got.failure != "" {
					t.Logf("seed %d: %s", seed, got.failure)
					if again := simulate(t, seed, planted.bug); again.failure != got.failure {
						t.Errorf("the replay ends otherwise: %s", again.failure)
					}
					return
				}
			}
			t.Error("not found")
		})
	}
}

// model is three brokers on one goroutine.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Duration
	engine  *memstore.Engine
	truth   truth
	brokers []*modelBroker
	depth   int
	bug     bug
}

type modelBroker struct {
	m      *model
	name   string
	run    *origins.Run // nil: it has crashed
	busy   bool         // an operation of it waits
	left   int          // pauses until the context ends
	cancel context.CancelFunc
	down   bool // its reads fail
}

func newModel(t *testing.T, seed uint64, bug bug) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 27)), engine: memstore.NewEngine(func() time.Time { return start }), bug: bug}
	m.truth.watch(t, m.engine)
	for _, name := range []string{"a", "b", "c"} {
		m.brokers = append(m.brokers, &modelBroker{m: m, name: name})
	}
	return m
}

func (m *model) chance(percent int) bool { return m.rng.IntN(100) < percent }

// step does one thing; operations of brokers may do further ones while they wait.
func (m *model) step() {
	b := m.brokers[m.rng.IntN(len(m.brokers))]
	switch n := m.rng.IntN(100); {
	case n < 8:
		m.engine.Retransmit()
	case n < 14:
		m.now += time.Duration(m.rng.IntN(8000)) * time.Millisecond
	case n < 18:
		m.truth.end(m.rng)
	case b.busy:
	case b.run == nil:
		b.do(b.join)
	case n < 21:
		b.run = nil
	case n < 23:
		b.down = !b.down
	case n < 45:
		b.do(func(ctx context.Context) { b.outcome(b.run.Tick(ctx)) })
	default:
		b.do(b.commit)
	}
}

// interleave may do something while a broker waits.
func (m *model) interleave(percent int) {
	if m.depth < 2 && m.chance(percent) {
		m.depth++
		m.step()
		m.depth--
	}
}

// do runs an operation under a context that ends after some pauses.
func (b *modelBroker) do(op func(context.Context)) {
	ctx, cancel := context.WithCancel(b.m.t.Context())
	defer cancel()
	b.busy, b.cancel, b.left = true, cancel, 1+b.m.rng.IntN(8)
	op(ctx)
	b.busy = false
}

func (b *modelBroker) sleep(ctx context.Context, d time.Duration) error {
	b.m.now += d
	b.m.interleave(40)
	if b.left--; b.left == 0 {
		b.cancel()
	}
	return ctx.Err()
}

func (b *modelBroker) join(ctx context.Context) {
	b.left += 12
	handle := b.m.engine.Open(b.fault)
	b.run, _ = origins.Join(ctx, origins.Config{
		Engine: &client{Handle: handle, b: b}, Name: b.name, KEK: "kek", Sleep: b.sleep,
		Speaks: [2]int{1, max(1, b.m.truth.minReader) + min(1, b.m.rng.IntN(3))}, // of this release or the next one
		Wall:   func() time.Time { return start.Add(b.m.now) },
		Mono:   func() time.Duration { return b.m.now },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

// fault decides about an operation. Before it reaches the engine, others may run.
func (b *modelBroker) fault(op memstore.Op) memstore.Fault {
	b.m.interleave(8)
	switch n := b.m.rng.IntN(100); {
	case op.Kind != memstore.OpCommit && (b.down || n < 4), op.Kind == memstore.OpCommit && n < 4:
		return memstore.Refuse
	case op.Kind != memstore.OpCommit:
	case n < 12:
		return memstore.LoseAnswer
	case n < 19:
		return memstore.Keep
	case n < 25:
		return memstore.Duplicate
	}
	return memstore.OK
}

// outcome handles what ends an origin.
func (b *modelBroker) outcome(err error) {
	switch {
	case errors.Is(err, origins.ErrRewound), errors.Is(err, origins.ErrNameTaken):
		b.m.truth.fail("%s: %v", b.name, err)
	case errors.Is(err, origins.ErrStoreVersion):
		b.m.truth.tooOld++
		b.run = nil
	case errors.Is(err, store.ErrFenced):
		b.do(func(ctx context.Context) {
			b.left += 12
			switch err := b.run.Rejoin(ctx); {
			case errors.Is(err, origins.ErrRewound):
				b.m.truth.fail("%s: %v", b.name, err)
			case errors.Is(err, origins.ErrStoreVersion):
				b.m.truth.tooOld++
				b.run = nil
			}
		})
	}
}

// commit commits some changes and compares the results with the truth.
func (b *modelBroker) commit(ctx context.Context) {
	m, changes, ids := b.m, []store.Change{}, []int{}
	for range 1 + m.rng.IntN(4) {
		change, id := m.truth.change(m.rng)
		changes, ids = append(changes, change), append(ids, id)
	}
	errs := b.run.Commit(ctx, changes, b.seal)
	for i, err := range errs {
		m.truth.answer(ids[i], err)
	}
	b.outcome(errors.Join(errs...))
}

// seal returns a payload that differs in each attempt.
func (b *modelBroker) seal(events []revocation.Event) ([]store.Write, error) {
	if b.m.chance(3) {
		return nil, errors.New("no seal")
	}
	b.m.truth.sealed++
	ids := []string{strconv.Itoa(b.m.truth.sealed)}
	for _, e := range events {
		ids = append(ids, e.Value)
	}
	return []store.Write{write(batch(b.run.Origin(), b.run.Head()+1), strings.Join(ids, " "))}, nil
}

// client is an engine's client. It may send a commit twice, and has the planted bugs.
type client struct {
	*memstore.Handle
	b *modelBroker
}

type bug int

const (
	noBug bug = iota
	settleInPlace
	refusedIsNever
	endBlindly
	headOutside
	headAlways
	raiseBlindly
	joinBesides
)

func (c *client) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	m := c.b.m
	moves := string(fence.Value) == string(fence.Sealed) // of a settlement
	switch {
	case fence.Key != "" && m.bug == settleInPlace && moves:
		return fence.Expect, make([]error, len(changes))
	case fence.Key == "" && m.bug == endBlindly:
		changes = slices.Clone(changes)
		for i := range changes {
			changes[i].Writes = slices.Clone(changes[i].Writes)
			w := &changes[i].Writes[0]
			w.Blind = w.Blind || w.Expect != 0 && !w.Delete
		}
	case fence.Key != "" && m.bug == headAlways:
		for _, change := range changes {
			if len(change.Events) > 0 {
				fence.Value = fence.Sealed
			}
		}
	}
	for i := range changes {
		if len(changes[i].Writes) == 0 || m.bug != raiseBlindly && m.bug != joinBesides {
			continue
		}
		writes := slices.Clone(changes[i].Writes)
		last := &writes[len(writes)-1]
		switch {
		case last.Key != origins.VersionKey:
			continue
		case fence.Key != "" && m.bug == raiseBlindly:
			last.Blind = true
		case fence.Key == "" && m.bug == joinBesides && last.Expect != 0:
			writes = writes[:len(writes)-1]
		}
		changes = slices.Clone(changes)
		changes[i].Writes = writes
	}
	if fence.Key != "" && m.bug == headOutside && !moves {
		sealed := fence.Sealed
		fence.Sealed = fence.Value
		revision, errs := c.Handle.CommitFenced(ctx, fence, changes, seal)
		for i, change := range changes {
			if errs[i] == nil && len(change.Events) > 0 {
				second := store.Fence{Key: fence.Key, Expect: revision, Value: sealed, Sealed: sealed}
				revision, _ := c.Handle.CommitFenced(ctx, second, []store.Change{{}}, nil)
				return revision, errs
			}
		}
		return revision, errs
	}
	revision, errs := c.Handle.CommitFenced(ctx, fence, changes, seal)
	if fence.Key != "" && (errs[0] == nil || errors.Is(errs[0], store.ErrUncertain)) && m.chance(6) { // it hears no answer
		var again []error
		if revision, again = c.Handle.CommitFenced(ctx, fence, changes, seal); again[0] == nil || errors.Is(again[0], store.ErrFenced) {
			errs = again
		} else {
			revision = 0
			for i, err := range errs {
				if !errors.Is(err, store.ErrRetry) {
					errs[i] = fmt.Errorf("%w: %w", store.ErrUncertain, again[0])
				}
			}
		}
	}
	if fence.Key != "" && m.bug == refusedIsNever && !moves {
		for i, err := range errs {
			if errors.Is(err, store.ErrFenced) {
				errs[i] = store.ErrUnavailable
			}
		}
	}
	return revision, errs
}
