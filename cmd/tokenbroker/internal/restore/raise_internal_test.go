package restore

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// damage removes one of the store's files.
func (s site) damage(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(node.StoreDir(s.dir), name)); err != nil {
		t.Fatal(err)
	}
}

func raise(t *testing.T, cfg Config) (Raised, error) {
	t.Helper()
	r, err := PrepareRaise(t.Context(), cfg)
	if err != nil {
		return Raised{}, err
	}
	done, err := r.Run(t.Context())
	return done, errors.Join(err, r.Close())
}

func TestFloorRaiseKeepsReadableRecords(t *testing.T) {
	tests := map[string]struct {
		damage string
		lost   string
	}{
		"undamaged":   {"", ""},
		"no MANIFEST": {"MANIFEST", ""},
		"no mark":     {"tokenbroker.mark", "whether the last commits are lost"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if tt.damage != "" {
				s.damage(t, tt.damage)
			}
			done, err := raise(t, Config{DataDir: s.dir})
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(done.Lost, "; "); (text == "") != (tt.lost == "") || !strings.Contains(text, tt.lost) {
				t.Errorf("lost: %s", text)
			}
			if done.Users != 1 || done.Epoch == 0 || done.Kept == "" || !slices.Equal(done.Compromised, slices.Sorted(slices.Values(s.kids))) {
				t.Errorf("got %+v", done)
			}
			s.check(t, done.Store, true)
		})
	}
}

// The new floor is above every recorded epoch, even if the record of the floor is lost and the clock was
// ahead when an epoch was assigned.
func TestFloorRaiseIsAboveEveryRecordedEpoch(t *testing.T) {
	s := newSite(t)
	ahead := time.Now().Add(1000 * time.Hour).UnixMilli()
	s.use(t, func(disk *badgerstore.Store) {
		users, err := disk.List(t.Context(), "user.", "", 1)
		if err != nil || len(users) != 1 {
			t.Fatal(users, err)
		}
		var user map[string]any
		if err := json.Unmarshal(users[0].Value, &user); err != nil {
			t.Fatal(err)
		}
		user["epoch"] = ahead
		value, err := json.Marshal(user)
		if err != nil {
			t.Fatal(err)
		}
		change := store.Change{Writes: []store.Write{
			{Key: users[0].Key, Value: value, Expect: users[0].Revision}, {Key: "floor", Delete: true, Blind: true},
		}}
		if err := disk.Commit(t.Context(), []store.Change{change}, nil)[0]; err != nil {
			t.Fatal(err)
		}
	})
	done, err := raise(t, Config{DataDir: s.dir})
	if err != nil || done.Epoch <= ahead {
		t.Errorf("epoch %d, want more than %d; %v", done.Epoch, ahead, err)
	}
}

func TestFloorRaiseThatIsNotRunChangesNothing(t *testing.T) {
	s := newSite(t)
	r, err := PrepareRaise(t.Context(), Config{DataDir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Lock(s.dir); err == nil {
		t.Error("the data directory is not locked while the raise is prepared")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s.check(t, s.id, false)
}

func TestFloorRaiseIsRefused(t *testing.T) {
	s := newSite(t)
	lock, err := badgerstore.Lock(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var used *badgerstore.InUseError
	if _, err := raise(t, Config{DataDir: s.dir}); !errors.As(err, &used) {
		t.Errorf("while a server runs: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := raise(t, Config{DataDir: s.dir, KEK: newKEK(t)}); err == nil || !strings.Contains(err.Error(), "keyring") {
		t.Errorf("with another KEK: %v", err)
	}
	if _, err := raise(t, Config{DataDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "has no store") {
		t.Errorf("without a store: %v", err)
	}
	s.check(t, s.id, false)
}

// A restore carries over the readable records of a damaged store.
func TestRestoreCarriesOverReadableRecordsOfADamagedStore(t *testing.T) {
	s := newSite(t)
	s.damage(t, "MANIFEST")
	done, err := run(t.Context(), Config{DataDir: s.dir, File: s.file})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Warnings) != 1 || !strings.Contains(done.Warnings[0], "MANIFEST is missing") {
		t.Errorf("warnings: %q", done.Warnings)
	}
	s.check(t, done.Store, true)
}
