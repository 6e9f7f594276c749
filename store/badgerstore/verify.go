package badgerstore

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/y"
)

// openFiles verifies the files, lets Badger open them, and verifies that everything that was
// committed is there. The error is a [*DamagedError] if it is not.
func (s *Store) openFiles() (err error) {
	dir := s.config.Dir
	if err := os.RemoveAll(dir + salvageSuffix); err != nil {
		return fmt.Errorf("removing the copy of an interrupted salvage: %w", err)
	}
	found, err := listFiles(dir)
	if err != nil {
		return err
	}
	file, last, err := openMark(dir)
	switch {
	case absent(err) && !found.used():
		// A new store. The mark is made first: a directory with records and no mark is not a new store.
		_, _ = rand.Read(last.tag[:]) // never fails
		if file, err = createMark(dir, last); err != nil {
			return err
		}
	case absent(err): // missing, or of an earlier version
	case errors.Is(err, errMark):
		return found.damaged(err)
	case err != nil:
		return err
	}
	defer func() {
		if err == nil {
			s.mark = file
			return
		}
		if file != nil {
			err = errors.Join(err, file.close())
		}
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	if last.revision > 0 && !found.manifest && !found.used() {
		return found.damaged(errors.New("its files are missing"))
	}
	o := options(s.config)
	if err := found.check(o); err != nil {
		return err
	}
	if s.db, err = openBadger(o); err != nil {
		return err
	}
	revision, recorded, err := readInventory(s.db)
	if err == nil && file != nil {
		err = last.check(revision, recorded)
	}
	if err == nil && file == nil && recorded != nil {
		err = fmt.Errorf("its file %s is missing", markName)
	}
	if err != nil {
		return found.damaged(err)
	}
	counted, err := count(s.db, s.now)
	if err != nil {
		return fmt.Errorf("counting the records of the store: %w", err)
	}
	s.inventory = counted
	if recorded != nil {
		counted.tag = recorded.tag
		if err := recorded.compare(counted, counted.horizon); err != nil {
			return found.damaged(err)
		}
		return found.dropUnlisted()
	}
	counted.tag = last.tag
	if revision == 0 {
		return nil
	}
	// A store of an earlier version, whose records are accepted as they are.
	if file == nil {
		_, _ = rand.Read(counted.tag[:]) // never fails
		if file, err = createMark(dir, commitMark{tag: counted.tag, revision: revision}); err != nil {
			return err
		}
	}
	s.mark = file
	return errors.Join(s.recordInventory(), found.dropUnlisted())
}

// recordInventory commits the inventory and nothing else.
func (s *Store) recordInventory() error {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	t := transaction{store: s, txn: txn}
	after, err := t.write()
	if err == nil {
		err = s.commit(txn)
	}
	if err != nil {
		return fmt.Errorf("storing the inventory of the store: %w", err)
	}
	s.advanceMark(after, t.revisionOfCommit())
	return nil
}

// count counts the records, several ranges of them at a time. The horizon of the result is the
// time after the count.
func count(db *badger.DB, now func() int64) (*inventory, error) {
	all := &inventory{groups: map[int64]group{}}
	ranges := make(chan keyRange)
	var (
		counts sync.WaitGroup
		mu     sync.Mutex
	)
	for range runtime.GOMAXPROCS(0) {
		counts.Go(func() {
			for r := range ranges {
				part := r.count(db)
				mu.Lock()
				all.merge(part)
				mu.Unlock()
			}
		})
	}
	for _, r := range splitKeys(db) {
		ranges <- r
	}
	close(ranges)
	counts.Wait()
	all.forget(now())
	return all, nil
}

// keyRange is the keys that are at least from and less than to. If to is nil, the range has no upper
// bound.
type keyRange struct{ from, to []byte }

// splitKeys divides the keys into ranges of roughly equal size, by the tables they are in.
func splitKeys(db *badger.DB) []keyRange {
	const perCPU = 4
	var ends [][]byte
	for _, t := range db.Tables() {
		if key := y.ParseKey(t.Right); bytes.Compare(key, []byte(firstKey)) > 0 {
			ends = append(ends, key)
		}
	}
	slices.SortFunc(ends, bytes.Compare)
	ends = slices.CompactFunc(ends, bytes.Equal)
	parts := min(len(ends), perCPU*runtime.GOMAXPROCS(0))
	ranges := []keyRange{{from: []byte(firstKey)}}
	for i := 1; i < parts; i++ {
		key := ends[i*len(ends)/parts]
		ranges[len(ranges)-1].to = key
		ranges = append(ranges, keyRange{from: key})
	}
	return ranges
}

func (r keyRange) count(db *badger.DB) *inventory {
	part := &inventory{groups: map[int64]group{}}
	var (
		expires int64 // of the group that is being added up
		sum     group
	)
	txn := db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	for it.Seek(r.from); it.Valid(); it.Next() {
		item := it.Item()
		if r.to != nil && bytes.Compare(item.Key(), r.to) >= 0 {
			break
		}
		if at := int64(item.ExpiresAt()); at != expires { // neighbours often expire together
			part.addGroup(expires, sum)
			expires, sum = at, group{}
		}
		sum.records++
		sum.sum += fingerprint(item.Key(), item.Version(), expires)
	}
	part.addGroup(expires, sum)
	return part
}
