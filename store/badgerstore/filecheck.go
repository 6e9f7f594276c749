package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// unlistedDir, below the store's directory, keeps the tables that MANIFEST does not list until
// the store is known to be complete. Badger would delete or overwrite them.
const unlistedDir = "unlisted"

// files are the files of a closed store that hold records.
type files struct {
	dir                    string
	manifest               bool
	tables, memtables, log []string
}

// listFiles reads the directory.
func listFiles(dir string) (files, error) {
	f := files{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return f, fmt.Errorf("reading the store's directory: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		switch filepath.Ext(name) {
		case ".sst":
			f.tables = append(f.tables, name)
		case ".mem":
			f.memtables = append(f.memtables, name)
		case ".vlog":
			f.log = append(f.log, name)
		}
		f.manifest = f.manifest || name == badger.ManifestFilename
	}
	return f, nil
}

// used reports whether the directory holds a file that Badger writes records to.
func (f files) used() bool { return len(f.tables)+len(f.memtables)+len(f.log) > 0 }

// check verifies, before Badger opens the store and changes its files, everything that can be
// verified then: MANIFEST, that each table it lists is there, and the checksum of each block
// of these tables. It then removes or moves what a crash may have left. The error is a
// [*DamagedError] if the files are damaged; nothing was changed then.
func (f files) check(options badger.Options) error {
	if !f.manifest {
		if f.used() {
			return f.damaged(errors.New("its MANIFEST is missing"))
		}
		return nil
	}
	listed, err := f.listed(options)
	if err != nil {
		return err
	}
	if err := f.verify(listed); err != nil {
		return f.damaged(err)
	}
	if err := f.removeEmpty(); err != nil {
		return err
	}
	return f.keepUnlisted(listed)
}

func (f files) damaged(cause error) error { return &DamagedError{Dir: f.dir, Cause: cause} }

// listed returns the tables in MANIFEST, by name.
func (f files) listed(options badger.Options) (map[string]badger.TableManifest, error) {
	file, err := os.Open(filepath.Join(f.dir, badger.ManifestFilename))
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	defer func() { _ = file.Close() }()
	manifest, _, err := badger.ReplayManifestFile(file, options.ExternalMagicVersion, options)
	if err != nil {
		return nil, f.damaged(fmt.Errorf("its MANIFEST cannot be read: %s", oneLine(err)))
	}
	listed := make(map[string]badger.TableManifest, len(manifest.Tables))
	for id, t := range manifest.Tables {
		listed[table.IDToFilename(id)] = t
	}
	return listed, nil
}

// verify checks the tables, as many at a time as there are CPUs, and returns an error that names the
// first few damaged ones.
func (f files) verify(listed map[string]badger.TableManifest) error {
	names := make(chan string)
	var (
		checks sync.WaitGroup
		mu     sync.Mutex
		failed []error
	)
	for range runtime.GOMAXPROCS(0) {
		checks.Go(func() {
			for name := range names {
				if err := verifyTable(filepath.Join(f.dir, name), listed[name]); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("table %s %w", name, err))
					mu.Unlock()
				}
			}
		})
	}
	for name := range listed {
		names <- name
	}
	close(names)
	checks.Wait()
	return first(failed)
}

// first returns an error that names the first few of them.
func first(failed []error) error {
	const most = 3
	if len(failed) == 0 {
		return nil
	}
	slices.SortFunc(failed, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	texts := make([]string, 0, most)
	for _, err := range failed[:min(most, len(failed))] {
		texts = append(texts, err.Error())
	}
	if more := len(failed) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(texts, "; "))
}

// verifyTable checks the index and every block of a table. Badger panics on an index or a
// block whose lengths are damaged.
func verifyTable(path string, listed badger.TableManifest) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("is missing")
	}
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	if info.Size() == 0 {
		return errors.New("is empty")
	}
	file, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("is damaged or cut short (%d bytes): the lengths in it do not match", info.Size())
		}
		_ = file.Close(-1)
	}()
	t, err := table.OpenTable(file, table.Options{
		ReadOnly: true, Compression: listed.Compression, BlockSize: badger.DefaultOptions("").BlockSize,
	})
	if err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return fmt.Errorf("is damaged (%d bytes): a checksum in it does not match", info.Size())
	}
	return nil
}

// oneLine shortens an error of Badger's, which can be very long.
func oneLine(err error) string {
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	const most = 200
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// removeEmpty removes memtables and logs of zero bytes: a process that was killed between
// creating such a file and setting its length leaves one, and Badger refuses to open it.
func (f files) removeEmpty() error {
	for _, name := range slices.Concat(f.memtables, f.log) {
		path := filepath.Join(f.dir, name)
		info, err := os.Lstat(path)
		if err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			err = os.Remove(path)
		}
		if err != nil {
			return fmt.Errorf("removing an empty file of the store: %w", err)
		}
	}
	return nil
}

// keepUnlisted moves the tables that MANIFEST does not list aside. A crash leaves such tables
// when they were just made or about to be removed, and so does a MANIFEST that was cut short:
// then they hold records.
func (f files) keepUnlisted(listed map[string]badger.TableManifest) error {
	for _, name := range f.tables {
		if _, ok := listed[name]; ok {
			continue
		}
		aside := filepath.Join(f.dir, unlistedDir)
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return fmt.Errorf("moving an unlisted table aside: %w", err)
		}
		to := filepath.Join(aside, name)
		for n := 2; ; n++ {
			if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
				break
			}
			to = filepath.Join(aside, fmt.Sprintf("%s-%d.sst", strings.TrimSuffix(name, ".sst"), n))
		}
		if err := os.Rename(filepath.Join(f.dir, name), to); err != nil {
			return fmt.Errorf("moving an unlisted table aside: %w", err)
		}
	}
	return nil
}

// dropUnlisted removes the tables that were moved aside: the store is complete without them.
func (f files) dropUnlisted() error {
	if err := os.RemoveAll(filepath.Join(f.dir, unlistedDir)); err != nil {
		return fmt.Errorf("removing unlisted tables: %w", err)
	}
	return nil
}
