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

// kekSource is the source of the KEK in use.
type kekSource struct {
	mu sync.Mutex // one reseal at a time; guards the rest
	// own is the server's own file, or nil if the operator keeps the KEK.
	own   *ownKEK
	named string
	// backups seals the keys of backups under the KEK in force.
	backups keyring.Sealer
}

// ownKEK is the KEK that the server keeps in the data directory. While it is replaced there is a second file. A start
// finds the one that opens the keyring.
type ownKEK struct {
	path string
	// needed reports that a keyring exists, which a new KEK cannot open.
	needed bool
}

func (o ownKEK) next() string { return o.path + ".new" }

// load returns the KEK, which the first start creates.
func (o ownKEK) load() (keyring.KEK, error) {
	load := keyring.LoadOrCreateKEKFile
	if _, err := os.Lstat(o.next()); o.needed && errors.Is(err, fs.ErrNotExist) {
		load = keyring.LoadKEKFile
	}
	kek, err := load(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the keys are sealed under it: put it back (mode 0600), or name it as keyring.kek in the configuration; nothing else opens them", err)
	}
	return kek, err
}

// open calls open with the KEK, which the first start creates. If a reseal left a second file, open puts it in the
// place of the first one if the keyring is sealed under it, and removes it otherwise.
func (o ownKEK) open(open func(keyring.KEK) error) error {
	kek, err := o.load()
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

// replace creates a new KEK, calls reseal to seal the keyring under it, and puts it in the place of the old one. If it
// is interrupted, one of the two files opens the keyring, and the next start finds out which. It can be repeated
// after an error.
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
