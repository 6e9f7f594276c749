package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m,
		// The flusher of glog, a dependency of Badger, cannot be stopped.
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

var testKEK = keyring.KEK(bytes.Repeat([]byte{7}, 32))

// place is one of the two stores of a test: in memory, and used as a single broker uses its store or as several do.
type place struct {
	engine *memstore.Engine
	single bool
	name   string
}

// world is two stores and a machine, whose monotonic clock only waiting moves.
type world struct {
	t        *testing.T
	from, to *place
	mono     time.Duration
	commits  int
	dies     int               // from this commit on, all commits of the migration are refused; zero is never
	last     memstore.Fault    // the result of that commit
	fault    func(memstore.Op) // called for each operation of the migration
	dead     bool
	steps    func(step string)
}

func newWorld(t *testing.T, fromSingle, toSingle bool) *world {
	t.Helper()
	w := &world{
		t:    t,
		from: &place{engine: memstore.NewEngine(nil), single: fromSingle, name: "the source"},
		to:   &place{engine: memstore.NewEngine(nil), single: toSingle, name: "the target"},
	}
	w.use(w.from, func(s store.Store, l *ledger.Ledger) {
		sealer, err := keyring.NewAESGCM(testKEK)
		if err == nil {
			_, err = keyring.Open(t.Context(), keyring.Config{Store: node.KeyringStore(s), Sealer: sealer, StoreID: l.StoreID()})
		}
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Unix()
		for _, kind := range []string{"user.u", "session.u1.s", "once.o"} {
			var change store.Change
			for i := range 120 {
				w := store.Write{Key: fmt.Sprintf("%s%04d", kind, i), Value: fmt.Appendf(nil, `{"n":%d}`, i)}
				if kind != "user.u" {
					w.ExpiresAt = now + 3600
				}
				change.Writes = append(change.Writes, w)
			}
			if err := s.Commit(t.Context(), []store.Change{change}, nil)[0]; err != nil {
				t.Fatal(err)
			}
		}
		for i := range 5 {
			e := revocation.Event{Kind: revocation.KindSID, Value: fmt.Sprint("s", i), At: now, ExpiresAt: now + 3600, Reason: revocation.ReasonLogoff, By: "uid 0"}
			if err := s.Commit(t.Context(), []store.Change{{Events: []revocation.Event{e}}}, l.Seal)[0]; err != nil {
				t.Fatal(err)
			}
			l.Committed()
		}
	})
	return w
}

func (w *world) sleep(ctx context.Context, d time.Duration) error {
	if w.dead {
		return context.Canceled // the process has ended
	}
	w.mono += d
	return ctx.Err()
}

func (w *world) clock() time.Duration { return w.mono }

// direct is a single broker's use of an engine.
type direct struct{ *memstore.Handle }

func (d direct) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	_, errs := d.CommitFenced(ctx, store.Fence{}, changes, seal)
	return errs
}

// start starts as a broker does. It returns an error if no broker may start.
func (w *world) start(p *place) (store.Store, *ledger.Ledger, func(), error) {
	handle := p.engine.Open(nil)
	cfg := ledger.Config{Denylist: revocation.NewDenylist(), Mono: w.clock}
	leave := func() {}
	if p.single {
		if err := origins.Startable(w.t.Context(), handle); err != nil {
			return nil, nil, nil, err
		}
		cfg.Store = direct{handle}
	} else {
		run, err := origins.Join(w.t.Context(), origins.Config{Engine: handle, Name: "a", KEK: keyring.Fingerprint(testKEK), Sleep: w.sleep, Mono: w.clock})
		if err != nil {
			return nil, nil, nil, err
		}
		cfg.Store, cfg.Run = run, run
		leave = func() {
			if err := run.Leave(w.t.Context()); err != nil {
				w.t.Error(err)
			}
		}
	}
	l, err := ledger.Open(w.t.Context(), cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	return cfg.Store, l, func() { l.Close(); leave() }, nil
}

func (w *world) use(p *place, do func(store.Store, *ledger.Ledger)) {
	w.t.Helper()
	s, l, stop, err := w.start(p)
	if err != nil {
		w.t.Fatal(err)
	}
	defer stop()
	do(s, l)
}

// startable reports whether a broker may start with the records of the test.
func (w *world) startable(p *place) bool {
	w.t.Helper()
	handle := p.engine.Open(nil)
	id, _, err := ledger.StoreOf(w.t.Context(), handle)
	if err != nil {
		w.t.Fatal(err)
	}
	err = origins.Startable(w.t.Context(), handle)
	if err != nil && !errors.Is(err, origins.ErrMoved) && !errors.Is(err, origins.ErrMaintenance) {
		w.t.Fatal(err)
	}
	return err == nil && id != ""
}

// contents returns the records that do not differ between the two kinds of stores, and the revoked values.
func (w *world) contents(p *place) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	w.use(p, func(_ store.Store, l *ledger.Ledger) {
		err := p.engine.Open(nil).Each(w.t.Context(), "", func(r store.Write) error {
			if !ledger.Converted(r.Key) && !ofBrokers(r.Key) && r.Key != "cluster" {
				all[r.Key] = fmt.Sprint(string(r.Value), r.ExpiresAt)
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		events, _, err := l.List(w.t.Context(), "", 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range events {
			all["revoked "+e.Value] = fmt.Sprintf("%+v", e)
		}
	})
	return all
}

// faults counts the commits of the migration and lets it die.
func (w *world) faults(op memstore.Op) memstore.Fault {
	if w.fault != nil {
		w.fault(op)
	}
	if op.Kind != memstore.OpCommit {
		return memstore.OK
	}
	if w.commits++; w.dead {
		return memstore.Refuse
	}
	if w.commits == w.dies {
		w.dead = true
		return w.last
	}
	return memstore.OK
}

func (w *world) side(p *place) Side {
	return Side{Engine: p.engine.Open(w.faults), Single: p.single, Where: p.name, KEK: testKEK}
}

func (w *world) config() Config {
	return Config{
		From: w.side(w.from), To: w.side(w.to), sleep: w.sleep, mono: w.clock,
		at: func(step string) error {
			if w.steps != nil {
				w.steps(step)
			}
			if w.dead {
				return context.Canceled
			}
			return nil
		},
	}
}

// migrate runs the command.
func (w *world) migrate() (Result, error) {
	w.t.Helper()
	w.commits, w.dead = 0, false
	p, err := Prepare(w.t.Context(), w.config())
	if err != nil {
		return Result{}, err
	}
	return p.Run(w.t.Context())
}

// mustMove runs the command and checks its result.
func (w *world) mustMove(want map[string]string) Result {
	w.t.Helper()
	done, err := w.migrate()
	if err != nil {
		w.t.Fatal(err)
	}
	if w.startable(w.from) || !w.startable(w.to) {
		w.t.Fatalf("startable: source %t, target %t", w.startable(w.from), w.startable(w.to))
	}
	if got := w.contents(w.to); !maps.Equal(got, want) {
		w.t.Fatalf("the target has %d records, want %d: %.500v\nwant %.500v", len(got), len(want), got, want)
	}
	for _, p := range []*place{w.from, w.to} {
		all, err := origins.List(w.t.Context(), p.engine.Open(nil))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range all {
			if !o.Ended || p.single && strings.HasPrefix(o.Name, program) {
				w.t.Errorf("%s has the origin %+v", p.name, o)
			}
		}
	}
	return done
}

// pairs runs a test for each pair of kinds of stores.
func pairs(t *testing.T, test func(t *testing.T, fromSingle, toSingle bool)) {
	for _, from := range []bool{true, false} {
		for _, to := range []bool{true, false} {
			kind := map[bool]string{true: "single", false: "shared"}
			t.Run(kind[from]+" to "+kind[to], func(t *testing.T) { test(t, from, to) })
		}
	}
}
