package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"tokenbroker/keyring"
)

// kekSource is where the KEK in force came from.
type kekSource struct {
	mu sync.Mutex // one reseal at a time; guards the rest
	// own is the server's own file, or nil when the KEK is somebody else's to keep.
	own   *ownKEK
	named string
	// backups seals the keys of backups under the KEK in force.
	backups keyring.Sealer
}

// ownKEK is the KEK that the server keeps itself, in the data directory. While a new one takes
// its place there is a second file beside it; a start finds the one that opens the keyring.
type ownKEK struct {
	path string
	// needed says that there is a keyring already, which a KEK made now cannot open.
	needed bool
}

func (o ownKEK) next() string { return o.path + ".new" }

// open calls open with the KEK, made at the very first start. A file that a reseal left behind
// is put in its place if the keyring is sealed under it, and removed if it is not.
func (o ownKEK) open(open func(keyring.KEK) error) error {
	load := keyring.LoadOrCreateKEKFile
	if _, err := os.Lstat(o.next()); o.needed && errors.Is(err, fs.ErrNotExist) {
		load = keyring.LoadKEKFile
	}
	kek, err := load(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the keys are sealed under it: put it back (mode 0600), or name it as keyring.kek in the configuration; nothing else opens them", err)
	}
	if err != nil {
		return err
	}
	next, err := keyring.LoadKEKFile(o.next())
	if errors.Is(err, fs.ErrNotExist) {
		return open(kek)
	}
	if err != nil {
		return fmt.Errorf("a reseal was interrupted; its new KEK may be the one in force, so keep a copy of it: %w", err)
	}
	err = open(kek)
	switch {
	case err == nil:
		return o.discard()
	case !errors.Is(err, keyring.ErrWrongKEK):
		return err
	}
	if err := open(next); err != nil {
		return fmt.Errorf("neither %s nor %s, which a reseal left, opens it: %w", o.path, o.next(), err)
	}
	return o.install()
}

// replace makes a new KEK, has reseal seal the keyring under it, and puts it in the place of
// the old one. Whatever moment it ends at, one of the two files opens the keyring, and the
// next start knows which. To repeat it after an error is safe.
func (o ownKEK) replace(reseal func(keyring.KEK) error) error {
	kek, err := keyring.LoadKEKFile(o.next())
	if errors.Is(err, fs.ErrNotExist) {
		kek, err = keyring.CreateKEKFile(o.next())
	}
	if err != nil {
		return fmt.Errorf("preparing the new KEK: %w", err)
	}
	if err := reseal(kek); err != nil {
		return err
	}
	return o.install()
}

// install puts the new KEK in the place of the old one.
func (o ownKEK) install() error {
	if err := os.Rename(o.next(), o.path); err != nil {
		return fmt.Errorf("putting the new KEK in its place: %w", err)
	}
	return syncDir(filepath.Dir(o.path))
}

func (o ownKEK) discard() error {
	if err := os.Remove(o.next()); err != nil {
		return fmt.Errorf("removing a KEK that a reseal left unused: %w", err)
	}
	return syncDir(filepath.Dir(o.path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
