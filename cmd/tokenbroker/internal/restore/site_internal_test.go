package restore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/backup"
	"tokenbroker/store/badgerstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The flusher of glog, a dependency of Badger, cannot be stopped.
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		// Badger leaves these goroutines running if it fails to open damaged files; in production the process ends then.
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

// site is the data directory of a stopped broker and a backup of it.
type site struct {
	dir, file string
	id        string // of the store
	kids      []string
}

func newSite(t *testing.T) site {
	t.Helper()
	s := site{dir: filepath.Join(t.TempDir(), "data"), file: filepath.Join(t.TempDir(), "backup")}
	s.use(t, func(disk *badgerstore.Store) {
		l, k := s.open(t, disk)
		s.id, s.kids = l.StoreID(), kids(k)
		user := store.Write{Key: "user.u1", Value: []byte(`{"v":1,"uid":"u1"}`)}
		if err := disk.Commit(t.Context(), []store.Change{{Writes: []store.Write{user}}}, nil)[0]; err != nil {
			t.Fatal(err)
		}
		s.backUp(t, disk)
	})
	return s
}

// backUp writes the backup of the store.
func (s site) backUp(t *testing.T, disk *badgerstore.Store) {
	t.Helper()
	var out bytes.Buffer
	w, err := backup.NewWriter(t.Context(), &out, backup.Header{Store: s.id, TakenAt: time.Now().Unix()}, s.backupSealer(t))
	if err == nil {
		err = disk.Each(t.Context(), "", w.Add)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// backupSealer seals the keys of backups under the site's KEK.
func (s site) backupSealer(t *testing.T) keyring.Sealer {
	t.Helper()
	kek, err := keyring.LoadKEKFile(node.KEKFile(s.dir))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := keyring.NewBackupSealer(kek)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// use opens the store as the broker does when it starts.
func (s site) use(t *testing.T, f func(*badgerstore.Store)) {
	t.Helper()
	if _, _, err := badgerstore.FinishReplace(node.StoreDir(s.dir), time.Now()); err != nil {
		t.Fatal(err)
	}
	disk, err := badgerstore.Open(badgerstore.Config{Dir: node.StoreDir(s.dir)})
	if err != nil {
		t.Fatal(err)
	}
	f(disk)
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s site) open(t *testing.T, disk *badgerstore.Store) (*ledger.Ledger, *keyring.Keyring) {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Config{Store: disk, Denylist: revocation.NewDenylist()})
	if err != nil {
		t.Fatal(err)
	}
	kek, err := keyring.LoadOrCreateKEKFile(node.KEKFile(s.dir))
	if err != nil {
		t.Fatal(err)
	}
	k, err := keyring.Open(t.Context(), keyring.Config{Store: node.KeyringStore(disk), Sealer: sealer(t, kek), StoreID: l.StoreID()})
	if err != nil {
		t.Fatal(err)
	}
	return l, k
}

func sealer(t *testing.T, kek keyring.KEK) keyring.Sealer {
	t.Helper()
	s, err := keyring.NewAESGCM(kek)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kids(k *keyring.Keyring) (kids []string) {
	for _, key := range k.List() {
		if key.Purpose == lifecycle.PurposeAccess || key.Purpose == lifecycle.PurposeFeed {
			kids = append(kids, key.KID)
		}
	}
	return kids
}

func run(ctx context.Context, cfg Config) (Result, error) {
	p, err := Prepare(ctx, cfg)
	if err != nil {
		return Result{}, err
	}
	done, err := p.Run(ctx)
	return done, errors.Join(err, p.Close())
}

// check opens the present store and checks its id and its user. The keys of the site are compromised if
// and only if the store was restored.
func (s site) check(t *testing.T, id string, restored bool) {
	t.Helper()
	s.use(t, func(disk *badgerstore.Store) {
		l, k := s.open(t, disk)
		if id != "" && l.StoreID() != id || (l.StoreID() != s.id) != restored {
			t.Errorf("the store is %s, it was %s, want %q", l.StoreID(), s.id, id)
		}
		if _, err := disk.Get(t.Context(), "user.u1"); err != nil {
			t.Errorf("the user: %v", err)
		}
		for _, kid := range s.kids {
			if slices.Contains(k.Compromised(), kid) != restored || slices.Contains(kids(k), kid) == restored {
				t.Errorf("the key %s; compromised are %v", kid, k.Compromised())
			}
		}
		_, ended, err := l.Find(t.Context(), revocation.KindAll, "")
		if err != nil || ended != restored {
			t.Errorf("all users signed out: %t, %v", ended, err)
		}
	})
}

func newKEK(t *testing.T) keyring.KEK {
	t.Helper()
	kek, err := keyring.ParseKEK([]byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, keyring.KEKSize))))
	if err != nil {
		t.Fatal(err)
	}
	return kek
}
