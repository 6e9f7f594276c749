package restore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/backup"
	"tokenbroker/store/badgerstore"
)

func TestRefusedRestoreChangesNothing(t *testing.T) {
	s := newSite(t)
	whole, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	other := func(content []byte) func(*Config) {
		return func(c *Config) {
			c.File = filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(c.File, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var inUse *badgerstore.InUseError
	for name, refusal := range map[string]struct {
		change func(*Config)
		is     func(error) bool
		hint   string
	}{
		"a clock behind the backup": {func(c *Config) { c.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, is(ErrClock), "set this machine's clock right"},
		"half a file":               {other(whole[:len(whole)/2]), is(backup.ErrDamaged), "not a whole backup"},
		"another file":              {other([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")), is(backup.ErrDamaged), "does not begin as one"},
		"no file":                   {func(c *Config) { c.File += "x" }, is(os.ErrNotExist), "no such file"},
		"another KEK":               {func(c *Config) { c.KEK = newKEK(t) }, is(keyring.ErrWrongKEK), "keyring.kek of the configuration"},
		"another KEK of the backup": {func(c *Config) { c.BackupKEK = newKEK(t) }, is(keyring.ErrWrongKEK), "--backup-kek-file"},
		"no KEK":                    {func(c *Config) { c.DataDir = t.TempDir() }, is(os.ErrNotExist), "put the KEK"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{File: s.file, DataDir: s.dir}
			refusal.change(&cfg)
			_, err := run(t.Context(), cfg)
			if !refusal.is(err) || !strings.Contains(err.Error(), refusal.hint) {
				t.Errorf("%v", err)
			}
			s.check(t, s.id, false)
		})
	}
	t.Run("a running server", func(t *testing.T) {
		lock, err := badgerstore.Lock(s.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = lock.Release() }()
		if _, err := run(t.Context(), Config{File: s.file, DataDir: s.dir}); !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
			t.Errorf("%v", err)
		}
	})
	s.check(t, s.id, false)
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// summed returns content with its digest appended.
func summed(content []byte) []byte {
	digest := sha256.Sum256(content)
	return append(slices.Clone(content), digest[:]...)
}

// A backup with another password is refused if it was written without the server's KEK: under the forger's
// KEK, even if it claims to be sealed under the right one.
func TestForgedBackupIsRefused(t *testing.T) {
	s := newSite(t)
	forger := s
	forger.dir = t.TempDir()
	if _, err := keyring.CreateKEKFile(node.KEKFile(forger.dir)); err != nil {
		t.Fatal(err)
	}
	ids := map[string][]byte{}
	for name, of := range map[string]site{"forger": forger, "server": s} {
		sealed, err := of.backupSealer(t).Seal(t.Context(), make([]byte, 16), nil)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = sealed[:9] // format and KEK id, which are encoded in base64 separately
	}
	var out bytes.Buffer
	w, err := backup.NewWriter(t.Context(), &out, backup.Header{Store: s.id, TakenAt: time.Now().Unix()}, forger.backupSealer(t))
	if err == nil {
		err = w.Add(store.Write{Key: "user.u1", Value: []byte(`{"v":1,"uid":"u1","roles":["admin"]}`)})
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	plain := out.Bytes()
	text := func(b []byte) []byte { return []byte(base64.RawStdEncoding.EncodeToString(b)) }
	claims := summed(bytes.Replace(plain[:len(plain)-sha256.Size], text(ids["forger"]), text(ids["server"]), 1))
	if bytes.Equal(plain, claims) {
		t.Fatal("the KEK's id is not in the file")
	}
	for name, c := range map[string]struct {
		content []byte
		want    error
		hint    string
	}{
		"under the forger's KEK":             {plain, keyring.ErrWrongKEK, "--backup-kek-file FILE"},
		"under a KEK that claims another id": {claims, backup.ErrDamaged, "damaged or changed"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(s.file, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := run(t.Context(), Config{File: s.file, DataDir: s.dir, InsecureFormat1: true})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.hint) {
				t.Errorf("%v", err)
			}
			s.check(t, s.id, false)
		})
	}
}

// The files are byte for byte those that earlier versions wrote.
func TestBackupsOfEarlierVersionsAreRestored(t *testing.T) {
	for name, unauthenticated := range map[string]bool{"format1": true, "format2": false} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", name+".kek"))
			if err != nil {
				t.Fatal(err)
			}
			kek, err := keyring.ParseKEK(text)
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{
				File: filepath.Join("testdata", name+".backup"), DataDir: filepath.Join(t.TempDir(), "data"), KEK: kek,
				Now: func() time.Time { return time.Date(2026, 11, 30, 5, 0, 0, 0, time.UTC) },
			}
			if unauthenticated {
				if _, err := run(t.Context(), cfg); !errors.Is(err, backup.ErrFormat1) || !strings.Contains(err.Error(), "--unauthenticated") {
					t.Errorf("without the flag: %v", err)
				}
				cfg.InsecureFormat1 = true
			}
			done, err := run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if done.Users != 1 || done.Records != 6 || done.Clients != 2 || len(done.Warnings) > 0 != unauthenticated {
				t.Errorf("%+v", done)
			}
		})
	}
}

// A process that ends at any step leaves either the old store or the new one, and running the restore again
// succeeds.
func TestRestoreInterruptedAtEachStep(t *testing.T) {
	for step, restored := range map[string]bool{"stage": false, "fill": false, "renew": false, "decide": false, "replace": true, "done": true} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			p, err := Prepare(t.Context(), Config{File: s.file, DataDir: s.dir, at: func(at string) {
				if at == step {
					panic(step)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			func() {
				defer func() {
					if got := recover(); got != step {
						t.Fatalf("Run panicked with %v, want %q", got, step)
					}
				}()
				_, _ = p.Run(t.Context())
			}()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			s.check(t, "", restored)
			done, err := run(t.Context(), Config{File: s.file, DataDir: s.dir})
			if err != nil {
				t.Fatal(err)
			}
			s.check(t, done.Store, true)
			if _, left := badgerstore.Abandoned(node.StoreDir(s.dir)); left {
				t.Error("the interrupted restore left files behind")
			}
		})
	}
}

// The first restore ends after the old store was renamed and before the new one is in its place. The next
// restore carries over the records of the new store, which has those of the old one.
func TestRestoreInterruptedBetweenTheRenames(t *testing.T) {
	s := newSite(t)
	first, err := run(t.Context(), Config{File: s.file, DataDir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	dir := node.StoreDir(s.dir)
	if err := os.Rename(dir, dir+".restored"); err != nil {
		t.Fatal(err)
	}
	p, err := Prepare(t.Context(), Config{File: s.file, DataDir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Replaces {
		t.Error("the plan reports that there is no store to replace")
	}
	second, err := p.Run(t.Context())
	if err := errors.Join(err, p.Close()); err != nil {
		t.Fatal(err)
	}
	for _, k := range first.Keys {
		if !slices.Contains(second.Compromised, k.KID) {
			t.Errorf("the key %s of the restored store is not compromised", k.KID)
		}
	}
	if second.Kept == "" || second.Epoch <= first.Epoch {
		t.Errorf("%+v after %+v", second, first)
	}
}

// The epoch of a second restore is above that of the first, even if the clock stands still between them.
func TestEpochIsAboveThatOfTheReplacedStore(t *testing.T) {
	s := newSite(t)
	at := time.Now().Add(time.Hour)
	cfg := Config{File: s.file, DataDir: s.dir, Now: func() time.Time { return at }}
	first, err := run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if second.Epoch <= first.Epoch || second.Store == first.Store || second.Kept == first.Kept {
		t.Errorf("%+v after %+v", second, first)
	}
	for _, k := range first.Keys {
		if !slices.Contains(second.Compromised, k.KID) {
			t.Errorf("the key %s of the replaced store is not compromised", k.KID)
		}
	}
}

func TestRestoreIntoAnEmptyDirectoryUnderAnotherKEK(t *testing.T) {
	s := newSite(t)
	old, err := keyring.LoadKEKFile(node.KEKFile(s.dir))
	if err != nil {
		t.Fatal(err)
	}
	s.dir = filepath.Join(t.TempDir(), "fresh")
	done, err := run(t.Context(), Config{File: s.file, DataDir: s.dir, KEK: newKEK(t), BackupKEK: old})
	if err != nil {
		t.Fatal(err)
	}
	if done.Kept != "" || len(done.Warnings) > 0 || done.Users != 1 {
		t.Errorf("%+v", done)
	}
	s.use(t, func(disk *badgerstore.Store) {
		if _, err := keyring.Open(t.Context(), keyring.Config{Store: node.KeyringStore(disk), Sealer: sealer(t, newKEK(t)), StoreID: done.Store}); err != nil {
			t.Error(err)
		}
	})
}

// A replaced store that cannot be opened is kept, and a warning names what could not be carried over.
func TestDamagedStoreIsReplaced(t *testing.T) {
	s := newSite(t)
	if err := os.WriteFile(filepath.Join(node.StoreDir(s.dir), "MANIFEST"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := run(t.Context(), Config{File: s.file, DataDir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	if done.Kept == "" || len(done.Warnings) != 1 {
		t.Errorf("%+v", done)
	}
	s.check(t, done.Store, true)
}
