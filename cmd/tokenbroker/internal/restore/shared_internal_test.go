package restore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// sharedSite is a shared store, the KEK of its brokers and a backup of another store.
type sharedSite struct {
	site
	engine *memstore.Engine
	kek    keyring.KEK
	now    time.Duration // the monotonic clock, which only waiting moves
}

func newSharedSite(t *testing.T) *sharedSite {
	t.Helper()
	s := &sharedSite{site: newSite(t), engine: memstore.NewEngine(nil)}
	var err error
	if s.kek, err = keyring.LoadKEKFile(node.KEKFile(s.dir)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sharedSite) mono() time.Duration { return s.now }

func (s *sharedSite) sleep(ctx context.Context, d time.Duration) error {
	s.now += d
	return ctx.Err()
}

// config is that of a command whose operations on the store fail from its commit number dies on, as if it had been killed; zero is
// never.
func (s *sharedSite) config(dies int) Config {
	var commits atomic.Int64
	faults := func(op memstore.Op) memstore.Fault {
		n := commits.Load()
		if op.Kind == memstore.OpCommit {
			n = commits.Add(1)
		}
		if dies > 0 && n >= int64(dies) {
			return memstore.Refuse
		}
		return memstore.OK
	}
	return Config{File: s.file, KEK: s.kek, Engine: s.engine.Open(faults), Where: "the prefix test/", sleep: s.sleep, mono: s.mono}
}

// join joins as a broker.
func (s *sharedSite) join(t *testing.T) (*origins.Run, error) {
	t.Helper()
	return origins.Join(t.Context(), origins.Config{Engine: s.engine.Open(nil), Name: "a", KEK: keyring.Fingerprint(s.kek), Sleep: s.sleep, Mono: s.mono})
}

// check starts as a broker does and checks that the store was restored.
func (s *sharedSite) check(t *testing.T, id string) {
	t.Helper()
	engine := s.engine.Open(nil)
	all, err := origins.List(t.Context(), engine)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if !o.Ended {
			t.Errorf("the origin %+v is live", o)
		}
	}
	run, err := s.join(t)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Run: run, Denylist: revocation.NewDenylist(), Mono: s.mono})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	k, err := keyring.Open(t.Context(), keyring.Config{Store: node.KeyringStore(run), Sealer: sealer(t, s.kek), StoreID: l.StoreID()})
	if err != nil {
		t.Fatal(err)
	}
	if id != "" && l.StoreID() != id || l.StoreID() == s.id {
		t.Errorf("the store is %s, it was %s, want %q", l.StoreID(), s.id, id)
	}
	if _, err := run.Get(t.Context(), "user.u1"); err != nil {
		t.Errorf("the user: %v", err)
	}
	for _, kid := range s.kids {
		if !slices.Contains(k.Compromised(), kid) || slices.Contains(kids(k), kid) {
			t.Errorf("the key %s; compromised are %v", kid, k.Compromised())
		}
	}
	if _, ended, err := l.Find(t.Context(), revocation.KindAll, ""); err != nil || !ended {
		t.Errorf("all users signed out: %t, %v", ended, err)
	}
	if err := run.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// mayStart checks that a broker can start only with a whole store. It reports whether it did.
func (s *sharedSite) mayStart(t *testing.T) bool {
	t.Helper()
	if all, err := s.engine.Open(nil).List(t.Context(), "", "", 1); err != nil || len(all) == 0 {
		return false // nothing was written
	}
	run, err := s.join(t)
	if errors.Is(err, origins.ErrMaintenance) {
		return false
	}
	if err == nil {
		err = run.Leave(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.check(t, "")
	return true
}

func TestRestoreIntoASharedStore(t *testing.T) {
	s := newSharedSite(t)
	done, err := run(t.Context(), s.config(0))
	if err != nil {
		t.Fatal(err)
	}
	if done.Users != 1 || done.Kept != "" || len(done.Warnings) > 0 || done.BackupStore != s.id {
		t.Errorf("%+v", done)
	}
	s.check(t, done.Store)
	if left, err := s.engine.Open(nil).List(t.Context(), "ledger.event.", "", 1); err != nil || len(left) > 0 {
		t.Errorf("revocations in the form of an embedded store: %v, %v", left, err)
	}
	_, err = run(t.Context(), s.config(0))
	if !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "another prefix") {
		t.Errorf("a second restore: %v", err)
	}
	s.check(t, done.Store)
}

// TestRestoreIntoASharedStoreIsRefusedWhileABrokerRuns also checks that the broker is not disturbed.
func TestRestoreIntoASharedStoreIsRefusedWhileABrokerRuns(t *testing.T) {
	s := newSharedSite(t)
	broker, err := s.join(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), s.config(0)); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "did not end their runs: a:") {
		t.Errorf("%v", err)
	}
	if err := broker.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: "k"}}}}, nil)[0]; err != nil {
		t.Error(err)
	}
}

// TestRestoreIntoASharedStoreKilledAtEachCommit: a broker starts only with the whole store, and the command succeeds when it
// is run again.
func TestRestoreIntoASharedStoreKilledAtEachCommit(t *testing.T) {
	whole := false
	for dies := 1; !whole; dies++ {
		s := newSharedSite(t)
		_, err := run(t.Context(), s.config(dies))
		if whole = err == nil; whole {
			if dies < 8 {
				t.Errorf("a restore has only %d commits", dies-1)
			}
			break
		}
		if s.mayStart(t) {
			t.Errorf("killed at commit %d: a broker starts, the command said %v", dies, err)
			continue
		}
		if dies > 3 && !errors.Is(err, ErrUnfinished) {
			t.Errorf("killed at commit %d: %v", dies, err)
		}
		if _, err := raise(t, s.config(0)); err == nil {
			t.Errorf("killed at commit %d: the floor of an incomplete store can be raised", dies)
		}
		m, err := origins.ReadMaintenance(t.Context(), s.engine.Open(nil))
		if err != nil {
			t.Fatal(err)
		}
		if m.Replaces { // of another backup
			s.put(t, "user.stray")
		}
		_, _ = run(t.Context(), s.config(dies)) // and again
		if s.mayStart(t) {
			t.Errorf("killed twice at commit %d: a broker starts", dies)
		}
		done, err := run(t.Context(), s.config(0))
		if err != nil {
			t.Fatalf("killed at commit %d, the next one: %v", dies, err)
		}
		s.check(t, done.Store)
		if _, err := s.engine.Open(nil).Get(t.Context(), "user.stray"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("killed at commit %d: a record of the interrupted restore is left: %v", dies, err)
		}
	}
}

// TestAStoreThatIsFilledBeforeTheRestoreBeginsIsKept writes a record after the restore was prepared.
func TestAStoreThatIsFilledBeforeTheRestoreBeginsIsKept(t *testing.T) {
	s := newSharedSite(t)
	p, err := Prepare(t.Context(), s.config(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	s.put(t, "user.u2")
	if _, err := p.Run(t.Context()); !errors.Is(err, ErrNotEmpty) || errors.Is(err, ErrUnfinished) {
		t.Errorf("%v", err)
	}
	all, err := s.engine.Open(nil).List(t.Context(), "", "", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Key != "user.u2" && !strings.HasPrefix(r.Key, origins.Prefix) {
			t.Errorf("the restore has left %s", r.Key)
		}
	}
	if _, err := s.join(t); err != nil {
		t.Errorf("a broker: %v", err)
	}
}

// TestRestoreLeavesOutTheMaintenanceOfTheBackedUpStore restores a backup that a running broker made while 'tokenbroker floor raise'
// waited for it. The record of that command must not replace the one of the restore.
func TestRestoreLeavesOutTheMaintenanceOfTheBackedUpStore(t *testing.T) {
	s := newSharedSite(t)
	s.use(t, func(disk *badgerstore.Store) {
		mark := store.Write{Key: origins.MaintenanceKey, Value: []byte(`{"v":1,"what":"floor raise"}`)}
		if err := disk.Commit(t.Context(), []store.Change{{Writes: []store.Write{mark}}}, nil)[0]; err != nil {
			t.Fatal(err)
		}
		s.backUp(t, disk)
	})
	cfg := s.config(0)
	cfg.at = func(step string) {
		if m, err := origins.ReadMaintenance(t.Context(), s.engine.Open(nil)); step == "renew" && (err != nil || m.What != restoring || !m.Replaces) {
			t.Errorf("at the step %s: %+v, %v", step, m, err)
		}
	}
	done, err := run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.check(t, done.Store)
}

// put writes a record past all brokers.
func (s *sharedSite) put(t *testing.T, key string) {
	t.Helper()
	change := store.Change{Writes: []store.Write{{Key: key, Blind: true}}}
	if _, errs := s.engine.Open(nil).CommitFenced(t.Context(), store.Fence{}, []store.Change{change}, nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

// used is a shared store that a broker used and did not leave.
func (s *sharedSite) used(t *testing.T) (storeID string) {
	t.Helper()
	done, err := run(t.Context(), s.config(0))
	if err != nil {
		t.Fatal(err)
	}
	broker, err := s.join(t)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Run: broker, Denylist: revocation.NewDenylist(), Mono: s.mono})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	now := time.Now().Unix()
	change := store.Change{Events: []revocation.Event{{Kind: revocation.KindSID, Value: "0190a6f0-7d3c-7000-8000-000000000001", At: now, ExpiresAt: now + 600}}}
	if err := broker.Commit(t.Context(), []store.Change{change}, l.Seal)[0]; err != nil {
		t.Fatal(err)
	}
	for _, k := range done.Keys {
		s.kids = append(s.kids, k.KID)
	}
	s.id = done.Store
	return done.Store
}

func TestFloorRaiseOfASharedStore(t *testing.T) {
	s := newSharedSite(t)
	was := s.used(t)
	before := s.now
	done, err := raise(t, s.config(0))
	if err != nil {
		t.Fatal(err)
	}
	if s.now-before < 30*time.Second || s.now-before > 40*time.Second {
		t.Errorf("waited %v for a broker that did not end its run", s.now-before)
	}
	if done.Store == was || done.Users != 1 || done.Epoch == 0 || done.Kept != "" || len(done.Keys) == 0 {
		t.Errorf("%+v", done)
	}
	s.check(t, done.Store)
	if _, err := raise(t, Config{Engine: memstore.NewEngine(nil).Open(nil), KEK: s.kek, Where: "the prefix none/"}); err == nil || !strings.Contains(err.Error(), "none/ has no store") {
		t.Errorf("without a store: %v", err)
	}
}

func TestFloorRaiseOfASharedStoreIsRefusedWhileABrokerRuns(t *testing.T) {
	s := newSharedSite(t)
	was := s.used(t)
	broker, err := s.join(t)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.config(0)
	cfg.sleep = func(ctx context.Context, d time.Duration) error {
		_ = broker.Tick(ctx)
		return s.sleep(ctx, d)
	}
	if _, err := raise(t, cfg); !errors.Is(err, origins.ErrRunning) || errors.Is(err, ErrUnfinished) {
		t.Errorf("%v", err)
	}
	v, err := broker.View(t.Context())
	if err != nil || v.Store != was {
		t.Errorf("afterwards: %+v, %v", v, err)
	}
	if m, err := origins.ReadMaintenance(t.Context(), broker); err != nil || m.What != "" {
		t.Errorf("brokers cannot join: %+v, %v", m, err)
	}
}

func TestFloorRaiseOfASharedStoreKilledAtEachCommit(t *testing.T) {
	whole := false
	for dies := 1; !whole; dies++ {
		s := newSharedSite(t)
		was := s.used(t)
		_, err := raise(t, s.config(dies))
		if whole = err == nil; whole {
			if dies < 6 {
				t.Errorf("a floor raise has only %d commits", dies-1)
			}
			break
		}
		m, err := origins.ReadMaintenance(t.Context(), s.engine.Open(nil))
		if err != nil {
			t.Fatal(err)
		}
		if m.What == "" { // it was killed while it waited
			broker, err := s.join(t)
			if err != nil {
				t.Fatal(err)
			}
			if v, err := broker.View(t.Context()); err != nil || v.Store != was {
				t.Errorf("killed at commit %d: a broker starts with %+v, %v", dies, v, err)
			}
			continue
		}
		if s.mayStart(t) {
			t.Errorf("killed at commit %d: a broker starts", dies)
		}
		if _, err := run(t.Context(), s.config(0)); !errors.Is(err, origins.ErrMaintenance) {
			t.Errorf("killed at commit %d: a restore: %v", dies, err)
		}
		done, err := raise(t, s.config(0))
		if err != nil {
			t.Fatalf("killed at commit %d, the next one: %v", dies, err)
		}
		s.check(t, done.Store)
	}
}
