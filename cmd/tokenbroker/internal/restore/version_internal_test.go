package restore

import (
	"errors"
	"strings"
	"testing"

	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/origins"
)

// setVersion records that a later program uses the store.
func setVersion(t *testing.T, s store.Store) {
	t.Helper()
	w := store.Write{Key: origins.VersionKey, Value: []byte(`{"v":1,"min_reader":9,"build":"v9"}`), Blind: true}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
}

func wantVersion(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, origins.ErrStoreVersion) || !strings.Contains(err.Error(), `version 9, raised by "v9"`) {
		t.Errorf("%v", err)
	}
}

func TestABackupOfALaterProgramIsRefused(t *testing.T) {
	s := newSharedSite(t)
	s.use(t, func(disk *badgerstore.Store) { setVersion(t, disk); s.backUp(t, disk) })
	_, err := run(t.Context(), Config{File: s.file, DataDir: s.dir})
	wantVersion(t, err)
	s.site.check(t, s.id, false)
	_, err = run(t.Context(), s.config(0))
	wantVersion(t, err)
}

func TestAFloorRaiseOfALaterProgramsStoreIsRefused(t *testing.T) {
	s := newSite(t)
	s.use(t, func(disk *badgerstore.Store) { setVersion(t, disk) })
	_, err := raise(t, Config{DataDir: s.dir})
	wantVersion(t, err)
	s.check(t, s.id, false)
}

// A restore of a backup from before an upgrade goes back to the older program. The replaced store is not read.
func TestARestoreReplacesTheStoreOfALaterProgram(t *testing.T) {
	s := newSite(t)
	s.use(t, func(disk *badgerstore.Store) { setVersion(t, disk) })
	done, err := run(t.Context(), Config{File: s.file, DataDir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Warnings) != 1 || !strings.Contains(done.Warnings[0], "nothing is carried over from the replaced store") {
		t.Errorf("warnings: %q", done.Warnings)
	}
	s.check(t, done.Store, true)
	s.use(t, func(disk *badgerstore.Store) {
		if v, err := origins.ReadVersion(t.Context(), disk); err != nil || v.MinReader != 1 {
			t.Errorf("%+v %v", v, err)
		}
	})
}
