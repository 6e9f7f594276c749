package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
	boptions "github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// salvageSuffix names the copy that [Salvage] works on. [Open] removes a copy that a killed process left.
const salvageSuffix = ".salvage"

// Salvage opens a copy of the closed store in config.Dir with all records that can be read, even if the
// store is damaged, and returns descriptions of what is lost. If lost is empty, nothing is. The copy is
// next to the store, and Close of the result removes it; the store itself is not changed. The result is
// read-only.
//
// A record may be an older version of one that was lost, so callers must not treat the result as the last
// state.
func Salvage(config Config) (s *Store, lost []string, err error) {
	if err := config.validate(); err != nil {
		return nil, nil, err
	}
	found, err := listFiles(config.Dir)
	if err != nil {
		return nil, nil, err
	}
	v := salvage{config: config, found: found, work: config.Dir + salvageSuffix}
	v.options = options(config).WithDir(v.work).WithValueDir(v.work).
		WithNumLevelZeroTables(1 << 20).WithNumLevelZeroTablesStall(1 << 21) // no compaction
	v.findTables()
	if s, lost, err = v.openMost(); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(v.work))
	}
	if len(lost) > 0 || !v.hasInventory {
		lost = slices.Concat(v.damaged, lost)
	}
	return s, lost, nil
}

// salvage is one attempt to read a store.
type salvage struct {
	config  Config
	options badger.Options
	found   files
	work    string
	// listed and unlisted are the tables that can be read, damaged describes damaged files.
	listed, unlisted []salvageTable
	damaged          []string
	// hasInventory reports whether the store has an inventory. Damage that lost no record of the inventory
	// is then harmless.
	hasInventory bool
}

// salvageTable is a table as it is, or the part of it that can be read.
type salvageTable struct {
	path    string
	rebuilt []byte // if nil, the table is copied as it is
}

// findTables verifies all tables.
func (v *salvage) findTables() {
	listed, err := v.found.listed(v.options)
	if err != nil {
		v.damaged = append(v.damaged, "its MANIFEST cannot be read")
	}
	sort := func(path string) {
		name := filepath.Base(path)
		_, isListed := listed[name]
		isListed = isListed && filepath.Dir(path) == filepath.Clean(v.found.dir)
		t := salvageTable{path: path}
		if verifyTable(path, badger.TableManifest{Compression: boptions.Snappy}) != nil {
			var what string
			t.rebuilt, what = rebuildTable(path)
			if isListed || listed == nil { // an unlisted table may be a leftover
				v.damaged = append(v.damaged, fmt.Sprintf("table %s is damaged: %s", name, what))
			}
			if t.rebuilt == nil {
				return
			}
		}
		if isListed {
			v.listed = append(v.listed, t)
		} else {
			v.unlisted = append(v.unlisted, t)
		}
	}
	for _, name := range v.found.tables {
		sort(filepath.Join(v.found.dir, name))
	}
	for name := range listed {
		if !slices.Contains(v.found.tables, name) {
			v.damaged = append(v.damaged, fmt.Sprintf("table %s is missing", name))
		}
	}
	aside, _ := filepath.Glob(filepath.Join(v.found.dir, unlistedDir, "*.sst")) // the pattern is good
	for _, path := range aside {
		sort(path)
	}
}

// openMost opens the listed tables. A crash leaves tables that are not listed and normally hold only
// outdated records; they are also opened if the store is not complete without them.
func (v *salvage) openMost() (s *Store, lost []string, err error) {
	s, lost, err = v.open(v.listed)
	readable := err == nil
	if len(v.unlisted) == 0 || readable && len(lost) == 0 {
		return s, lost, err
	}
	if readable {
		if err := s.Close(); err != nil { // the next attempt has the same directory
			return nil, nil, err
		}
	}
	s, lost, err = v.open(slices.Concat(v.listed, v.unlisted))
	if err == nil || !readable {
		return s, lost, err
	}
	failed := err
	if s, lost, err = v.open(v.listed); err == nil {
		lost = append(lost, fmt.Sprintf("the tables that its MANIFEST does not list cannot be read: %v", failed))
	}
	return s, lost, err
}

// open copies the tables and the memtables, and opens the copy.
func (v *salvage) open(tables []salvageTable) (s *Store, lost []string, err error) {
	if err := os.RemoveAll(v.work); err != nil {
		return nil, nil, fmt.Errorf("removing an earlier copy: %w", err)
	}
	if err := os.MkdirAll(v.work, 0o700); err != nil {
		return nil, nil, fmt.Errorf("making a copy of the store: %w", err)
	}
	if err := v.copyFiles(tables); err != nil {
		return nil, nil, fmt.Errorf("making a copy of the store: %w", err)
	}
	s = &Store{config: v.config, scratch: v.work, done: make(chan struct{}), ended: make(chan struct{})}
	close(s.done)
	s.stop = func() {}
	if err := s.checkSpaceToOpen(); err != nil {
		return nil, nil, err
	}
	if s.db, err = openBadger(v.options); err != nil {
		return nil, nil, err
	}
	lost, v.hasInventory, err = s.missing(v.found.dir)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, lost, nil
}

// copyFiles creates the files of a store that has the tables on level 0, where they may overlap.
func (v *salvage) copyFiles(tables []salvageTable) error {
	var changes []*pb.ManifestChange
	for i, t := range tables {
		id := uint64(i + 1)
		to := table.NewFilename(id, v.work)
		var err error
		if t.rebuilt != nil {
			err = os.WriteFile(to, t.rebuilt, 0o600)
		} else {
			err = copyFile(t.path, to)
		}
		if err != nil {
			return err
		}
		changes = append(changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE, Compression: uint32(boptions.Snappy)})
	}
	for _, name := range v.found.memtables {
		if err := copyMemtable(filepath.Join(v.found.dir, name), filepath.Join(v.work, name)); err != nil {
			return err
		}
	}
	return writeManifest(v.work, changes)
}

// writeManifest writes a MANIFEST with one set of changes. The form is Badger's: 8 bytes of
// magic and versions, then each set after its length and CRC-32C, 4 bytes each, big-endian.
func writeManifest(dir string, changes []*pb.ManifestChange) error {
	set, err := proto.Marshal(&pb.ManifestChangeSet{Changes: changes})
	if err != nil {
		return err
	}
	data := append([]byte("Bdgr"), 0, 0, 0, 8)
	data = binary.BigEndian.AppendUint32(data, uint32(len(set)))
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(set, crc32.MakeTable(crc32.Castagnoli)))
	return os.WriteFile(filepath.Join(dir, badger.ManifestFilename), append(data, set...), 0o600)
}

// copyMemtable copies a memtable's log. It begins with the number of the key that encrypts it,
// which is always zero here: any other number is damage.
func copyMemtable(from, to string) error {
	const key, header = 8, 20
	info, err := os.Stat(from)
	if err != nil || info.Size() < header {
		return err
	}
	if err := copyFile(from, to); err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_WRONLY, 0) //nolint:gosec // below the operator's directory
	if err != nil {
		return err
	}
	_, err = file.WriteAt(make([]byte, key), 0)
	return errors.Join(err, file.Close())
}

// copyFile copies a file. Runs of zeros become holes, because memtables consist mostly of them.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from) //nolint:gosec // below the operator's directory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is below the store
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}

// missing describes what the opened copy lacks of the store in dir, and reports whether that store has
// an inventory.
func (s *Store) missing(dir string) (lost []string, hasInventory bool, err error) {
	revision, recorded, err := readInventory(s.db)
	if err != nil {
		return nil, false, err
	}
	file, last, err := openMark(dir)
	switch {
	case err == nil:
		if err := errors.Join(last.check(revision, recorded), file.close()); err != nil {
			lost = append(lost, err.Error())
		}
	case absent(err) && recorded == nil: // a store of an earlier version
	case absent(err):
		lost = append(lost, "tokenbroker.mark is missing: it is not known whether the last commits are lost")
	default:
		lost = append(lost, "tokenbroker.mark is damaged: it is not known whether the last commits are lost")
	}
	counted, err := count(s.db, s.now)
	if err != nil {
		return nil, false, err
	}
	if recorded != nil {
		if err := recorded.compare(counted, counted.horizon); err != nil {
			lost = append(lost, err.Error())
		}
	} else if revision == 0 {
		return nil, false, &DamagedError{Dir: dir, Cause: errors.New("no record of it can be read")}
	}
	return lost, recorded != nil, nil
}

// removeScratch removes the copy of a store that was salvaged.
func (s *Store) removeScratch() error {
	if s.scratch == "" {
		return nil
	}
	return os.RemoveAll(s.scratch)
}
