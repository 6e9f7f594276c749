package badgerstore_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tokenbroker/internal/longtest"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

var damages = flag.Int("damages", longtest.Pick(40, 200), "how many damages TestADamagedStoreLosesNothingSilently tries")

// image is the content of a store's directory, as a process that was killed leaves it: for each file
// its content without trailing zeros, and its length.
type image map[string]imageFile

type imageFile struct {
	data []byte
	size int64
}

// takeImage reads the files of a store that may be open, at a time when Badger moves none of them in the
// background. Their mapped pages are what a kill leaves.
func takeImage(t testing.TB, dir string) image {
	t.Helper()
	same := func(a, b imageFile) bool { return a.size == b.size && bytes.Equal(a.data, b.data) }
	for last := readImage(dir); ; {
		img := readImage(dir)
		if img != nil && maps.EqualFunc(img, last, same) {
			return img
		}
		last = img
	}
}

// readImage returns nil if a file was removed in the meantime.
func readImage(dir string) image {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	img := image{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil
		}
		img[e.Name()] = imageFile{data: bytes.Clone(bytes.TrimRight(data, "\x00")), size: int64(len(data))}
	}
	return img
}

// write writes the image to a new directory, with its zeros as holes.
func (img image) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range img {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, f.size); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ext returns the kind of a file by its name.
func ext(name string) string {
	if e := filepath.Ext(name); e != "" {
		return e
	}
	return name
}

// livedStore returns a store after several runs of its process, the last of which was killed,
// and its records.
func livedStore(t testing.TB, seed uint64) (img image, records map[string]string) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	lives := 2 + random.IntN(6)
	for life := range lives {
		s := open(t, badgerstore.Config{Dir: dir})
		for n := range 20 + random.IntN(20) {
			commitSome(t, s, random, life, n)
		}
		if life == lives-1 {
			img, records = takeImage(t, dir), allRecords(t, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return img, records
}

// commitSome makes commits like those of a broker: users and sessions that change, revocations, and
// sometimes the removal of some of them.
func commitSome(t testing.TB, s store.Store, random *rand.Rand, life, n int) {
	t.Helper()
	var changes []store.Change
	for range 1 + random.IntN(4) {
		user := random.IntN(50)
		changes = append(changes, store.Change{Writes: []store.Write{{
			Key: fmt.Sprintf("user.%03d", user), Value: fmt.Appendf(nil, "life %d, commit %d, %s", life, n, strings.Repeat("x", random.IntN(300))), Blind: true,
		}, {
			Key: fmt.Sprintf("session.%03d.%d", user, random.IntN(3)), Value: fmt.Appendf(nil, "%d.%d", life, n), Blind: true,
			ExpiresAt: 1<<32 + random.Int64N(100*86400),
		}}})
	}
	if random.IntN(4) == 0 {
		changes = append(changes, store.Change{Writes: []store.Write{{Key: fmt.Sprintf("ledger.event.sid.%d", random.IntN(200)), Delete: true, Blind: true}}})
	}
	sid := fmt.Sprint(random.IntN(200))
	changes = append(changes, store.Change{Events: []revocation.Event{{Kind: revocation.KindSID, Value: sid}}})
	seal := func([]revocation.Event) ([]store.Write, error) {
		return []store.Write{
			{Key: "ledger.event.sid." + sid, Value: fmt.Appendf(nil, "%d.%d", life, n), Blind: true},
			{Key: fmt.Sprintf("ledger.batch.%d.%06d", life, n), Value: []byte(sid), Blind: true},
		}, nil
	}
	for _, err := range s.Commit(t.Context(), changes, seal) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func allRecords(t testing.TB, s *badgerstore.Store) map[string]string {
	t.Helper()
	records := map[string]string{}
	if err := s.Each(t.Context(), "", func(w store.Write) error {
		records[w.Key] = string(w.Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records
}

// damage changes a random file of one of the kinds and describes the damage.
func (img image) damage(random *rand.Rand, kinds []string) string {
	byKind := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(img)) {
		if kind := ext(name); slices.Contains(kinds, kind) {
			byKind[kind] = append(byKind[kind], name)
		}
	}
	names := byKind[kinds[random.IntN(len(kinds))]]
	if len(names) == 0 {
		return ""
	}
	name := names[random.IntN(len(names))]
	f := img[name]
	data := bytes.Clone(f.data)
	at := random.IntN(max(len(data), 1))
	how := ""
	switch what := random.IntN(4); {
	case what == 3 || len(data) == 0:
		delete(img, name)
		return name + " removed"
	case what == 0:
		data[at] ^= byte(1 << random.IntN(8))
		how = fmt.Sprintf("bit flipped at %d", at)
	case what == 1:
		n := min(1+random.IntN(512), len(data)-at)
		clear(data[at : at+n])
		how = fmt.Sprintf("%d bytes zeroed at %d", n, at)
	case what == 2:
		if random.IntN(2) == 0 {
			at = max(len(data)-1-random.IntN(16), 0)
		}
		data, f.size = data[:at], int64(at)
		how = fmt.Sprintf("cut to %d", at)
	}
	img[name] = imageFile{data: data, size: f.size}
	return fmt.Sprintf("%s (%d bytes used) %s", name, len(f.data), how)
}

// TestADamagedStoreLosesNothingSilently damages one file of a store. The store must open with
// everything that was committed, or be refused with a cause that names the damage.
func TestADamagedStoreLosesNothingSilently(t *testing.T) {
	if testing.Short() {
		*damages = min(*damages, 3) // each on its own store
	}
	kinds := []string{".sst", "MANIFEST", ".mem", ".vlog", ".mark"}
	const stores = 8
	type lived struct {
		img     image
		records map[string]string
	}
	all := make([]lived, min(stores, *damages))
	for i := range all {
		all[i].img, all[i].records = livedStore(t, uint64(i))
	}
	outcome := map[string]int{}
	for seed := range *damages {
		random := rand.New(rand.NewPCG(uint64(seed), 2))
		from := all[seed%len(all)]
		img := maps.Clone(from.img)
		how := img.damage(random, kinds)
		if how == "" {
			outcome["no such file"]++
			continue
		}
		dir := img.write(t)
		// A refused store must be refused again: the first start must not repair anything silently.
		for start := range 2 {
			s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
			var damaged *badgerstore.DamagedError
			switch {
			case errors.As(err, &damaged):
				if text := err.Error(); strings.Contains(text, "panic") || strings.Contains(text, "goroutine") || strings.Contains(text, "\n") {
					t.Errorf("seed %d, %s: the cause is not readable: %s", seed, how, text)
				}
				if start == 0 {
					outcome["refused"]++
					t.Logf("seed %d, %s: %v", seed, how, err)
				}
				continue
			case err != nil:
				t.Fatalf("seed %d, %s: %v", seed, how, err)
			}
			if got := allRecords(t, s); !maps.Equal(got, from.records) {
				outcome["SILENT LOSS"]++
				t.Errorf("seed %d, %s, start %d: %d records of %d, silently", seed, how, start+1, len(got), len(from.records))
			} else if start == 0 {
				outcome["complete"]++
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d damages: %v", *damages, outcome)
}

// A process that is killed between creating a memtable or a log and setting its length leaves
// a file of zero bytes.
func TestAnEmptyFileLeftByACrashIsAccepted(t *testing.T) {
	img, records := livedStore(t, 1)
	for _, name := range []string{"00099.mem", "000099.vlog"} {
		img := maps.Clone(img)
		img[name] = imageFile{}
		s := open(t, badgerstore.Config{Dir: img.write(t)})
		if got := allRecords(t, s); !maps.Equal(got, records) {
			t.Errorf("%s: %d records of %d", name, len(got), len(records))
		}
	}
}

// A MANIFEST that is cut short or missing makes tables look like leftovers of a crash, which
// Badger removes.
func TestUnlistedTablesAreKeptUntilTheStoreIsComplete(t *testing.T) {
	dir := t.TempDir()
	for life := range 2 {
		s := open(t, badgerstore.Config{Dir: dir})
		put(t, s, "a", fmt.Sprint(life))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	img := takeImage(t, dir)
	delete(img, "MANIFEST")
	without := img.write(t)
	for range 2 {
		_, err := badgerstore.Open(badgerstore.Config{Dir: without})
		var damaged *badgerstore.DamagedError
		if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "MANIFEST is missing") {
			t.Fatalf("got %v", err)
		}
	}
	for name := range img {
		if _, err := os.Stat(filepath.Join(without, name)); err != nil {
			t.Errorf("the refused start removed something: %v", err)
		}
	}
}

// salvaged returns the records of a store that can be read, and what is lost.
func salvaged(t *testing.T, dir string) (records map[string]string, lost []string, err error) {
	t.Helper()
	s, lost, err := badgerstore.Salvage(badgerstore.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	records = allRecords(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + ".salvage"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy was not removed: %v", err)
	}
	return records, lost, nil
}

func TestSalvageReadsUndamagedRecords(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	for n := range 300 {
		put(t, s, fmt.Sprintf("k%03d", n), strings.Repeat("x", 100)+fmt.Sprint(n*n*7919))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, badgerstore.Config{Dir: dir})
	put(t, s, "later", "1")
	img, records := takeImage(t, dir), allRecords(t, s)

	tests := []struct {
		name    string
		damaged image
		least   int    // records
		lost    string // empty: nothing
	}{
		{"no damage", img, len(records), ""},
		{"no MANIFEST", img.without("MANIFEST"), len(records), ""},
		{"MANIFEST", img.flipped("MANIFEST", 12), len(records), ""},
		{"a block", img.flipped("000001.sst", len(img["000001.sst"].data)/2), 200, "1 of its"},
		{"a block of what is over", img.flipped("000001.sst", 30), len(records), ""},
		{"the index", img.flipped("000001.sst", len(img["000001.sst"].data)-100), 1, "index cannot be read"},
		{"a table is missing", img.without("000001.sst"), 1, "table 000001.sst is missing"},
		{"the newest commit", img.flipped("00001.mem", 30), 300, "commit 301 was acknowledged"},
		{"the head of a memtable", img.flipped("00001.mem", 3), len(records), ""},
		{"the mark is missing", img.without(markFile), len(records), "it is not known whether the last commits are lost"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tt.damaged.write(t)
			got, lost, err := salvaged(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) < tt.least || len(got) > len(records) {
				t.Errorf("%d records of %d, want at least %d", len(got), len(records), tt.least)
			}
			if text := strings.Join(lost, "; "); (text == "") != (tt.lost == "") || !strings.Contains(text, tt.lost) {
				t.Errorf("lost: %s", text)
			}
			for key, value := range got {
				if records[key] != value {
					t.Errorf("%s is not as it was committed", key)
				}
			}
		})
	}
	empty := image{}
	for name, f := range img {
		if ext(name) != ".sst" && ext(name) != ".mem" {
			empty[name] = f
		}
	}
	var damaged *badgerstore.DamagedError
	if _, _, err := salvaged(t, empty.write(t)); !errors.As(err, &damaged) {
		t.Errorf("nothing to read: %v", err)
	}
}

// A process that is killed during a salvage leaves its copy, which has all records of the store.
func TestOpenRemovesTheCopyOfAnInterruptedSalvage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.MkdirAll(dir+".salvage/unlisted", 0o700); err != nil {
		t.Fatal(err)
	}
	open(t, badgerstore.Config{Dir: dir})
	if _, err := os.Stat(dir + ".salvage"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy was not removed: %v", err)
	}
}

func TestSalvageOnAFullDiskIsRefusedBeforeBadgerTouchesIt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, badgerstore.Config{Dir: dir})
	put(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := badgerstore.Salvage(badgerstore.Config{Dir: dir, FreeSpace: func(string) (uint64, error) { return 1 << 20, nil }})
	if err == nil || !strings.Contains(err.Error(), "free") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir + ".salvage"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy was not removed: %v", err)
	}
}

// If the attempt with more tables fails, here for lack of space, the result is that of the attempt
// before, and the failure is in the list of what is lost.
func TestSalvageKeepsItsFirstResultIfASecondAttemptFails(t *testing.T) {
	dir := t.TempDir()
	for life := range 2 {
		s := open(t, badgerstore.Config{Dir: dir})
		put(t, s, fmt.Sprint("life", life), "1")
		if life == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	unlisted := takeImage(t, dir).without("MANIFEST").write(t)
	asked := 0 // counts openings and closings
	s, lost, err := badgerstore.Salvage(badgerstore.Config{Dir: unlisted, FreeSpace: func(string) (uint64, error) {
		if asked++; asked == 3 {
			return 1 << 20, nil
		}
		return 1 << 40, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	records := allRecords(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if asked != 5 || records["life1"] != "1" || records["life0"] != "" {
		t.Errorf("read %v after %d openings and closings, want what the memtable holds after 5", records, asked)
	}
	if text := strings.Join(lost, "; "); !strings.Contains(text, "does not list cannot be read: opening the store: only 1 MiB free") {
		t.Errorf("lost: %s", text)
	}
	if _, err := os.Stat(unlisted + ".salvage"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy was not removed: %v", err)
	}
}

// without returns the image without a file.
func (img image) without(name string) image {
	img = maps.Clone(img)
	delete(img, name)
	return img
}
