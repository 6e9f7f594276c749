package badgerstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
)

var errInventory = errors.New("the record of what the store holds cannot be read")

// decodeInventory reads the encoded form.
func decodeInventory(data []byte) (*inventory, error) {
	c := &inventory{groups: map[int64]group{}}
	if len(data) < 1+len(c.tag) {
		return nil, errInventory
	}
	if data[0] != inventoryVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program knows %d", errInventory, data[0], inventoryVersion)
	}
	copy(c.tag[:], data[1:])
	r := bytes.NewReader(data[1+len(c.tag):])
	horizon, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, errInventory
	}
	c.horizon = int64(horizon)
	many, err := binary.ReadUvarint(r)
	if err != nil || many > uint64(len(data)) {
		return nil, errInventory
	}
	last := int64(0)
	for range many {
		hours, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, errInventory
		}
		records, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, errInventory
		}
		var sum [8]byte
		if _, err := r.Read(sum[:]); err != nil {
			return nil, errInventory
		}
		last += int64(hours) * hour
		c.groups[last] = group{records, binary.BigEndian.Uint64(sum[:])}
	}
	return c, nil
}

// compare returns an error that describes how found, counted at now, differs from c, nil if it does not.
func (c *inventory) compare(found *inventory, now int64) error {
	var want, missing, extra uint64
	differs := false
	expected := c.clone()
	expected.forget(now)
	for _, expires := range slices.Compact(slices.Sorted(func(yield func(int64) bool) {
		for expires := range expected.groups {
			if !yield(expires) {
				return
			}
		}
		for expires := range found.groups {
			if expected.counts(expires) && !yield(expires) {
				return
			}
		}
	})) {
		a, b := expected.groups[expires], found.groups[expires]
		want += a.records
		missing += max(a.records, b.records) - b.records
		extra += max(a.records, b.records) - a.records
		differs = differs || a != b
	}
	switch {
	case !differs:
		return nil
	case missing > 0:
		return fmt.Errorf("%d of the %d records that it held after its last commit are missing", missing, want)
	case extra > 0:
		return fmt.Errorf("it holds %d records that were removed, in addition to the %d of its last commit", extra, want)
	}
	return fmt.Errorf("some of its %d records are older than its last commit", want)
}

var errMark = fmt.Errorf("its file %s is damaged", markName)

// openMark reads the mark of the store in dir. The error is [fs.ErrNotExist] if it has none.
func openMark(dir string) (*markFile, commitMark, error) {
	file, err := os.OpenFile(filepath.Join(dir, markName), os.O_RDWR, 0) //nolint:gosec // below the operator's directory
	if err != nil {
		return nil, commitMark{}, err
	}
	var (
		best  commitMark
		found bool
	)
	f := &markFile{file: file}
	for slot := range int64(markSlots) {
		data := make([]byte, markSize)
		if _, err := file.ReadAt(data, slot*markSpacing); err != nil && !errors.Is(err, io.EOF) {
			return nil, commitMark{}, errors.Join(fmt.Errorf("reading %s: %w", markName, err), file.Close())
		}
		if m, ok := decodeMark(data); ok && (!found || m.revision > best.revision) {
			best, found, f.next = m, true, (slot+1)%markSlots
		}
	}
	if !found {
		return nil, commitMark{}, errors.Join(errMark, file.Close())
	}
	return f, best, nil
}

func decodeMark(data []byte) (m commitMark, ok bool) {
	if len(data) < markSize || !bytes.HasPrefix(data, []byte(markMagic)) {
		return m, false
	}
	if sum := sha256.Sum256(data[:markBody]); !bytes.Equal(sum[:], data[markBody:markSize]) {
		return m, false
	}
	rest := data[len(markMagic):]
	rest = rest[copy(m.tag[:], rest):]
	m.revision = binary.BigEndian.Uint64(rest)
	m.total = group{binary.BigEndian.Uint64(rest[8:]), binary.BigEndian.Uint64(rest[16:])}
	return m, true
}

// createMark makes the mark of the store in dir. The mark is complete and on disk when it returns.
func createMark(dir string, m commitMark) (*markFile, error) {
	path := filepath.Join(dir, markName)
	made := path + ".new"
	data := make([]byte, markSlots*markSpacing)
	for slot := range markSlots {
		copy(data[slot*markSpacing:], m.encode())
	}
	err := os.WriteFile(made, data, 0o600)
	if err == nil {
		err = syncFile(made)
	}
	if err == nil {
		err = rename(made, path)
	}
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", markName, err)
	}
	f, _, err := openMark(dir)
	return f, err
}

// check compares the store's last commit with the mark.
func (m commitMark) check(revision uint64, recorded *inventory) error {
	switch {
	case revision < m.revision:
		return fmt.Errorf("it ends with commit %d, but commit %d was acknowledged: the commits after it are lost", revision, m.revision)
	case recorded != nil && recorded.tag != m.tag:
		return fmt.Errorf("its file %s belongs to another store", markName)
	case recorded != nil && revision == m.revision && recorded.total() != m.total:
		return fmt.Errorf("its last commit %d is not the one that its file %s records", revision, markName)
	}
	return nil
}

// readInventory returns the revision of the last commit and the inventory after it, nil
// if an earlier version of the program, without inventories, wrote it.
func readInventory(db *badger.DB) (revision uint64, recorded *inventory, err error) {
	err = db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(revisionKey))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		revision = item.Version()
		return item.Value(func(value []byte) error {
			if len(value) > 0 {
				recorded, err = decodeInventory(value)
			}
			return err
		})
	})
	return revision, recorded, err
}

// absent reports whether openMark found no mark.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
