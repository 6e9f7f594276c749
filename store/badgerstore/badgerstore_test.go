package badgerstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
	"tokenbroker/store/storetest"
)

func open(t testing.TB, config badgerstore.Config) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s store.Store, key, value string) {
	t.Helper()
	w := store.Write{Key: key, Value: []byte(value), Blind: true}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, badgerstore.Config{Dir: t.TempDir()})
	})
}

func TestConformanceInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, badgerstore.Config{InMemory: true})
	})
}

func TestEngineConformance(t *testing.T) {
	for _, inMemory := range []bool{false, true} {
		t.Run(fmt.Sprintf("in memory %v", inMemory), func(t *testing.T) {
			storetest.RunEngine(t, func(t *testing.T) storetest.Harness {
				s := open(t, badgerstore.Config{Dir: t.TempDir(), InMemory: inMemory})
				return storetest.Harness{Engine: s, Other: s, Without: "an embedded engine has one handle, without a network"}
			})
		})
	}
}

func TestRecordsAndRevisionsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, badgerstore.Config{Dir: dir})
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	before, err := s.Get(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if errs := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: "b", Delete: true, Expect: before.Revision}}}}, nil); errs[0] != nil {
		t.Fatal(errs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory: %v, %v", info.Mode(), err)
	}
	s = open(t, badgerstore.Config{Dir: dir})
	if r, err := s.Get(t.Context(), "a"); err != nil || string(r.Value) != "1" {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := s.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the deleted record: %v", err)
	}
	put(t, s, "b", "2")
	if after, err := s.Get(t.Context(), "b"); err != nil || after.Revision <= before.Revision+1 {
		t.Errorf("revision %d after %d, %v", after.Revision, before.Revision, err)
	}
}

func TestCloseIsIdempotentAndRefusesLaterCalls(t *testing.T) {
	s := open(t, badgerstore.Config{InMemory: true})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.List(t.Context(), "", "", 1); !errors.Is(err, store.ErrClosed) {
		t.Errorf("List: %v", err)
	}
	if errs := s.Commit(t.Context(), make([]store.Change, 1), nil); !errors.Is(errs[0], store.ErrClosed) {
		t.Errorf("Commit: %v", errs)
	}
	if err := s.Writable(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Writable: %v", err)
	}
}

// Open makes files inaccessible to other users that an earlier program created as readable by them.
func TestOpenClosesTheFilesToOthers(t *testing.T) {
	dir := t.TempDir()
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "MANIFEST")
	if err := os.Chmod(old, 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err = badgerstore.Open(badgerstore.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	info, err := os.Stat(old)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: mode %v, %v", old, info.Mode(), err)
	}
}

func TestWritesAreRefusedOnALowDiskAndReadsAreNot(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	s := open(t, badgerstore.Config{
		Dir: t.TempDir(), MinFree: 100 << 20,
		FreeSpace: func(string) (uint64, error) {
			if free.Load() == 0 {
				return 0, errors.New("no answer")
			}
			return free.Load(), nil
		},
	})
	put(t, s, "a", "1")
	for _, low := range []uint64{100<<20 - 1, 0} { // too little, unknown
		free.Store(low)
		if err := s.Writable(); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%d bytes free: Writable: %v", low, err)
		}
		errs := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: "b"}}}}, nil)
		if !errors.Is(errs[0], store.ErrReadOnly) {
			t.Errorf("%d bytes free: Commit: %v", low, errs)
		}
		if _, err := s.Get(t.Context(), "a"); err != nil {
			t.Errorf("%d bytes free: Get: %v", low, err)
		}
	}
	free.Store(100 << 20)
	if err := s.Writable(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	put(t, s, "b", "1")
}

func TestAFullDiskIsRefusedBeforeBadgerTouchesIt(t *testing.T) {
	dir := t.TempDir()
	_, err := badgerstore.Open(badgerstore.Config{Dir: dir, FreeSpace: func(string) (uint64, error) { return 1 << 20, nil }})
	if err == nil || !strings.Contains(err.Error(), "free") {
		t.Fatalf("got %v", err)
	}
	open(t, badgerstore.Config{Dir: dir}) // the lock was released
}

func TestACommitStopsAtTheTransactionLimit(t *testing.T) {
	s := open(t, badgerstore.Config{InMemory: true})
	seal := func(accepted []revocation.Event) ([]store.Write, error) {
		var writes []store.Write
		for _, e := range accepted {
			writes = append(writes, store.Write{Key: "ledger." + e.Value, Value: make([]byte, 600), Blind: true})
		}
		return append(writes, store.Write{Key: "batch", Value: make([]byte, 200*len(accepted)), Blind: true}), nil
	}
	changes := make([]store.Change, 5000)
	for i := range changes {
		changes[i] = store.Change{
			Writes: []store.Write{{Key: fmt.Sprintf("k%05d", i), Value: make([]byte, 400), Blind: true}},
			Events: []revocation.Event{{Kind: revocation.KindSID, Value: fmt.Sprint(i)}},
		}
	}
	changes[7].Writes[0].Value = make([]byte, 900<<10)
	changes[7].Writes = append(changes[7].Writes, changes[7].Writes[0], changes[7].Writes[0], changes[7].Writes[0])
	rounds, done := 0, 0
	for len(changes) > 0 {
		rounds++
		cut := false
		var left []store.Change
		for i, err := range s.Commit(t.Context(), changes, seal) {
			switch {
			case errors.Is(err, store.ErrTooBig):
				cut = true
				left = append(left, changes[i])
			case cut:
				t.Fatalf("change %d was evaluated after the limit was reached: %v", i, err)
			case rounds == 1 && i == 7:
				if err == nil {
					t.Fatal("a change beyond the limit was accepted")
				}
			case err != nil:
				t.Fatal(err)
			default:
				done++
			}
		}
		if len(left) == len(changes) {
			t.Fatal("no progress")
		}
		changes = left
	}
	if rounds < 2 || done != 4999 {
		t.Errorf("%d changes in %d rounds", done, rounds)
	}
	records, err := s.List(t.Context(), "k", "", 10000)
	if err != nil || len(records) != 4999 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func TestRecordsExpireByTheGivenClock(t *testing.T) {
	var offset atomic.Int64
	s := open(t, badgerstore.Config{InMemory: true, Now: func() time.Time {
		return time.Now().Add(time.Duration(offset.Load()))
	}})
	w := store.Write{Key: "a", ExpiresAt: time.Now().Add(time.Hour).Unix()}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "a"); err != nil {
		t.Fatalf("before its end: %v", err)
	}
	offset.Store(int64(2 * time.Hour))
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("after its end: %v", err)
	}
}
