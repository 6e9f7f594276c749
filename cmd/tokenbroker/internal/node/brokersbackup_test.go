package node_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/restore"
	"tokenbroker/internal/longtest"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// backupAt requests a backup from one of the brokers and returns the file.
func (b *brokers) backupAt(m *member) string {
	b.t.Helper()
	a := m.look("/admin/v1/backup")
	if a.status != http.StatusOK {
		b.t.Fatalf("a backup: %d %s", a.status, a.body)
	}
	path := filepath.Join(b.t.TempDir(), "backup")
	if err := os.WriteFile(path, []byte(a.body), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// TestABackupOfSeveralBrokersIsRestoredIntoOne restores a backup of a shared store into the embedded one. Users can sign in
// there, every session has ended, and nothing of the brokers' runs remains.
func TestABackupOfSeveralBrokersIsRestoredIntoOne(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 2)
	ended, kept := b.signInAt(b.all[0]), b.signInAt(b.all[1])
	if a := ended.logOffAt(b.all[1]); !a.accepted() {
		t.Fatalf("log-off: %d", a.status)
	}
	file := b.backupAt(b.all[1])
	for _, m := range b.all {
		m.stop()
	}
	b.dir = filepath.Join(t.TempDir(), "data")
	plan, err := restore.Prepare(t.Context(), restore.Config{File: file, DataDir: b.dir, KEK: b.kek})
	if err != nil {
		t.Fatal(err)
	}
	done, err := plan.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Close(); err != nil {
		t.Fatal(err)
	}
	if done.Users != 1 || done.Sessions != 2 || done.Store == done.BackupStore || len(done.Warnings) > 0 {
		t.Errorf("it says %+v", done)
	}
	disk, err := badgerstore.Open(badgerstore.Config{Dir: node.StoreDir(b.dir)})
	if err != nil {
		t.Fatal(err)
	}
	all, err := disk.List(t.Context(), "", "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if strings.HasPrefix(r.Key, "origin.") || r.Key == "collector" {
			t.Errorf("the restored store has %s", r.Key)
		}
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	one := b.add("one")
	one.dir = b.dir
	if err := one.start(func(c *node.Config) { c.Engine, c.Name = nil, "" }); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*roamer{ended, kept} {
		if a := s.refreshAt(one); a.status != http.StatusUnauthorized {
			t.Errorf("refresh of an old session: %d %s", a.status, a.body)
		}
		if status, code := b.verifyAt(one, s.access); status != http.StatusUnauthorized {
			t.Errorf("an old token: %d %s", status, code)
		}
	}
	if a := b.signInAt(one).refreshAt(one); a.status != http.StatusOK {
		t.Errorf("refresh of a new session: %d %s", a.status, a.body)
	}
}

// stopAll stops all brokers.
func (b *brokers) stopAll() {
	for _, m := range b.all {
		m.stop()
	}
}

// startAll starts all brokers and waits until they are ready.
func (b *brokers) startAll() {
	b.t.Helper()
	for _, m := range b.all {
		if err := m.start(); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, m := range b.all {
		m.becomes(http.StatusOK)
	}
}

// restoreConfig is the configuration of a restore into the shared store, or of a floor raise there.
func (b *brokers) restoreConfig(file string) restore.Config {
	return restore.Config{File: file, Engine: b.engine.Open(nil), Where: "the test's engine", KEK: b.kek, AccessLife: session.DefaultPolicy.AccessLife}
}

// restoreInto replaces the store by an empty one and restores the backup into it.
func (b *brokers) restoreInto(file string) restore.Result {
	b.t.Helper()
	b.engine = memstore.NewEngine(nil)
	plan, err := restore.Prepare(b.t.Context(), b.restoreConfig(file))
	if err != nil {
		b.t.Fatal(err)
	}
	done, err := plan.Run(b.t.Context())
	if err := errors.Join(err, plan.Close()); err != nil {
		b.t.Fatal(err)
	}
	return done
}

// recovers checks that no session of before remains and that everything works again.
func (b *brokers) recovers(services map[string]watched, old map[string]*roamer) {
	b.t.Helper()
	again := b.signInAt(b.all[0])
	for name, w := range services {
		eventually(b.t, "the service over "+name+" accepts new tokens", func() bool {
			_, err := w.Validate(b.t.Context(), again.access)
			return err == nil
		})
		for what, s := range old {
			b.dead(w.Validator, &browser{access: s.access}, "the token "+what+", at the service over "+name)
		}
	}
	for what, s := range old {
		for _, m := range b.all {
			if a := s.refreshAt(m); a.status != http.StatusUnauthorized {
				b.t.Errorf("the session %s: refresh at broker %s: %d", what, m.name, a.status)
			}
			if status, code := b.verifyAt(m, s.access); status != http.StatusUnauthorized {
				b.t.Errorf("the token %s at broker %s: %d %s", what, m.name, status, code)
			}
		}
	}
	if a := again.refreshAt(b.all[1]); a.status != http.StatusOK {
		b.t.Errorf("refresh of a new session: %d %s", a.status, a.body)
	}
	if a := again.logOffAt(b.all[1]); !a.accepted() {
		b.t.Errorf("log-off of a new session: %d", a.status)
	}
	for name, w := range services {
		b.dead(w.Validator, &browser{access: again.access}, "a token that was logged off, at the service over "+name)
	}
}

// TestARestoreIntoASharedStoreRevivesNothing restores a backup of several brokers, and one of the embedded store, into a
// shared store while services run.
func TestARestoreIntoASharedStoreRevivesNothing(t *testing.T) {
	longtest.SkipShort(t, "starts brokers four times")
	t.Parallel()
	b := newBrokers(t, 2)
	services := b.services(0)
	old := map[string]*roamer{"of before the backup": b.signInAt(b.all[0]), "that was logged off": b.signInAt(b.all[1])}
	file := b.backupAt(b.all[1])
	old["of after the backup"] = b.signInAt(b.all[0])
	old["that was logged off"].logOffAt(b.all[0])
	b.stopAll()
	done := b.restoreInto(file)
	if done.Users != 1 || done.Sessions != 2 || done.Store == done.BackupStore {
		t.Errorf("it says %+v", done)
	}
	b.startAll()
	b.recovers(services, old)

	b.stopAll()
	b.dir = filepath.Join(t.TempDir(), "data")
	plan, err := restore.Prepare(t.Context(), restore.Config{File: file, DataDir: b.dir, KEK: b.kek})
	if err == nil {
		_, err = plan.Run(t.Context())
	}
	if err := errors.Join(err, plan.Close()); err != nil {
		t.Fatal(err)
	}
	one := b.add("one")
	one.dir = b.dir
	if err := one.start(func(c *node.Config) { c.Engine, c.Name = nil, "" }); err != nil {
		t.Fatal(err)
	}
	old["at the embedded store"], old["that ended there"] = b.signInAt(one), b.signInAt(one)
	old["that ended there"].logOffAt(one)
	file = b.backupAt(one)
	one.stop()
	b.change(func() { b.all = b.all[:2] })
	b.restoreInto(file)
	for _, prefix := range []string{"ledger.event.", "ledger.batch."} {
		records, err := b.engine.Open(nil).List(t.Context(), prefix, "", 10)
		if want := strings.Count(prefix, "batch"); err != nil || len(records) != want { // the floor's
			t.Errorf("%d records below %s, %v; want %d", len(records), prefix, err, want)
		}
	}
	b.startAll()
	b.recovers(services, old)
}

// TestARewoundSharedStoreIsRepairedByFloorRaise sets the store back to an earlier state while all brokers are down, as a restore of
// a snapshot does. Services notice and are stale; after a floor raise they recover by themselves, and no session that
// ended after the snapshot is valid again.
func TestARewoundSharedStoreIsRepairedByFloorRaise(t *testing.T) {
	longtest.SkipShort(t, "waits until brokers have ended for certain")
	t.Parallel()
	b := newBrokers(t, 2)
	services := b.services(0)
	old := map[string]*roamer{"of before the snapshot": b.signInAt(b.all[0]), "that was logged off": b.signInAt(b.all[1])}
	b.signInAt(b.all[0]).logOffAt(b.all[0]) // a batch of each broker
	b.signInAt(b.all[1]).logOffAt(b.all[1])
	earlier := memstore.NewEngine(nil)
	to := earlier.Open(nil)
	err := b.engine.Open(nil).Each(t.Context(), "", func(w store.Write) error {
		_, errs := to.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil)
		return errs[0]
	})
	if err != nil {
		t.Fatal(err)
	}
	old["that was logged off"].logOffAt(b.all[0])
	b.signInAt(b.all[1]).logOffAt(b.all[1])
	old["of after the snapshot"] = b.signInAt(b.all[1])
	for name, w := range services {
		b.dead(w.Validator, &browser{access: old["that was logged off"].access}, "the token that was logged off, at the service over "+name)
	}
	b.stopAll()
	b.engine = earlier
	b.startAll()
	for name, w := range services {
		eventually(t, "the service over "+name+" is stale because the store was rewound", func() bool {
			_, err := w.Validate(t.Context(), old["of before the snapshot"].access)
			return strings.Contains(w.Stats().Feed.Reason, "rewound") && err != nil
		})
	}

	raise := func() (restore.Raised, error) {
		r, err := restore.PrepareRaise(t.Context(), b.restoreConfig(""))
		if err != nil {
			return restore.Raised{}, err
		}
		done, err := r.Run(t.Context())
		return done, errors.Join(err, r.Close())
	}
	if _, err := raise(); !errors.Is(err, origins.ErrRunning) {
		t.Errorf("while the brokers run: %v", err)
	}
	b.stopAll()
	was, err := b.engine.Open(nil).Get(t.Context(), "ledger.store")
	if err != nil {
		t.Fatal(err)
	}
	done, err := raise()
	if err != nil {
		t.Fatal(err)
	}
	if done.Users != 1 || done.Epoch == 0 || strings.Contains(string(was.Value), done.Store) {
		t.Errorf("it says %+v", done)
	}
	b.startAll()
	b.recovers(services, old)
}
