package badgerstore_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/internal/longtest"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

const markFile = "tokenbroker.mark"

// wantRefusal opens the store and checks that it is refused with a cause that contains cause.
func wantRefusal(t *testing.T, img image, cause string) {
	t.Helper()
	_, err := badgerstore.Open(badgerstore.Config{Dir: img.write(t)})
	var damaged *badgerstore.DamagedError
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), cause) {
		t.Errorf("got %v, want a refusal: %s", err, cause)
	}
}

// with returns the image with one file of another image.
func (img image) with(name string, from image) image {
	img = maps.Clone(img)
	img[name] = from[name]
	return img
}

// flipped returns the image with one bit of a file changed.
func (img image) flipped(name string, at int) image {
	f := img[name]
	f.data = append([]byte(nil), f.data...)
	f.data[at] ^= 1
	return img.with(name, image{name: f})
}

func TestAStoreIsOpenedAtItsMarkOrAheadOfIt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	earlier := takeImage(t, dir)
	put(t, s, "c", "1")
	put(t, s, "a", "2")
	later := takeImage(t, dir)
	records := allRecords(t, s)

	// A power failure may keep a commit and lose the mark after it.
	s = open(t, badgerstore.Config{Dir: later.with(markFile, earlier).write(t)})
	if got := allRecords(t, s); !maps.Equal(got, records) {
		t.Errorf("got %v, want %v", got, records)
	}
	wantRefusal(t, later.with("00001.mem", earlier), "commit 4 was acknowledged")

	other := t.TempDir()
	put(t, open(t, badgerstore.Config{Dir: other}), "a", "1")
	wantRefusal(t, later.with(markFile, takeImage(t, other)), "belongs to another store")
}

func TestAnUnreadableMarkIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	put(t, s, "a", "1")
	put(t, s, "a", "2")
	img := takeImage(t, dir)
	const first, second = 20, 4096 + 20
	for _, at := range []int{first, second} {
		if got := allRecords(t, open(t, badgerstore.Config{Dir: img.flipped(markFile, at).write(t)})); got["a"] != "2" {
			t.Errorf("one damaged slot: got %v", got)
		}
	}
	wantRefusal(t, img.flipped(markFile, first).flipped(markFile, second), "is damaged")
	wantRefusal(t, img.with(markFile, image{}), "is damaged") // a file of zero bytes
	removed := maps.Clone(img)
	delete(removed, markFile)
	wantRefusal(t, removed, "is missing")
	for name := range img {
		if name != markFile {
			delete(removed, name)
		}
	}
	removed[markFile] = img[markFile]
	wantRefusal(t, removed, "its files are missing")
}

// An earlier version wrote no mark, no inventory, and expiries to the second.
func TestAStoreOfAnEarlierVersionGetsItsMarkOnce(t *testing.T) {
	dir := t.TempDir()
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	expires := uint64(time.Now().Unix()/3600*3600 + 7200 + 1)
	for i := range 3 {
		if err := db.Update(func(txn *badger.Txn) error {
			session := badger.NewEntry(fmt.Appendf(nil, "session.%d", i), []byte("1"))
			session.ExpiresAt = expires
			return errors.Join(txn.Set(fmt.Appendf(nil, "user.%d", i), []byte("1")), txn.SetEntry(session), txn.Set([]byte("\x00revision"), nil))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := open(t, badgerstore.Config{Dir: dir})
		if got := allRecords(t, s); len(got) != 6 {
			t.Errorf("got %v", got)
		}
		put(t, s, "session.0", "2")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	img := takeImage(t, dir)
	delete(img, markFile)
	wantRefusal(t, img, "is missing")
}

// TestAnUndamagedStoreIsNeverRefused makes commits of every kind, with restarts in between.
func TestAnUndamagedStoreIsNeverRefused(t *testing.T) {
	longtest.SkipShort(t, "starts a store many times")
	for seed := range longtest.Pick[uint64](2, 20) {
		random := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		var ahead atomic.Int64 // the clock, which is stepped forwards and backwards
		now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		s := open(t, badgerstore.Config{Dir: dir, Now: now})
		for n := range 80 {
			commitAnything(t, s, random)
			switch random.IntN(20) {
			case 0:
				ahead.Store(random.Int64N(int64(100 * 24 * time.Hour)))
			case 1:
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, badgerstore.Config{Dir: dir, Now: now})
			case 2: // the files as after a kill, copied
				dir = takeImage(t, dir).write(t)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, badgerstore.Config{Dir: dir, Now: now})
			}
			if t.Failed() {
				t.Fatalf("seed %d, commit %d", seed, n)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		open(t, badgerstore.Config{Dir: dir, Now: now})
	}
}

// commitAnything commits changes of which some conflict, some write one key twice, and some
// write records that have expired already.
func commitAnything(t *testing.T, s store.Store, random *rand.Rand) {
	t.Helper()
	now := time.Now().Unix()
	key := func() string { return fmt.Sprintf("k%d", random.IntN(12)) }
	changes := make([]store.Change, 1+random.IntN(4))
	for i := range changes {
		for range random.IntN(4) {
			w := store.Write{Key: key(), Value: []byte("v"), Blind: random.IntN(2) == 0, Delete: random.IntN(4) == 0}
			if r, err := s.Get(t.Context(), w.Key); err == nil && random.IntN(4) > 0 {
				w.Expect = r.Revision
			}
			switch random.IntN(4) {
			case 0:
				w.ExpiresAt = now + random.Int64N(200*86400)
			case 1:
				w.ExpiresAt = now/3600*3600 - 7200 + random.Int64N(4)*3600
			}
			changes[i].Writes = append(changes[i].Writes, w)
		}
	}
	for _, err := range s.Commit(t.Context(), changes, nil) {
		if err != nil && !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
	}
}
