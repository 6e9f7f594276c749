package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/keyring"
)

// fakeRing is a keyring that is sealed under one KEK.
type fakeRing struct{ kek keyring.KEK }

func (r *fakeRing) open(kek keyring.KEK) error {
	switch {
	case r.kek == nil: // the very first start
		r.kek = kek
	case !bytes.Equal(r.kek, kek):
		return keyring.ErrWrongKEK
	}
	return nil
}

func (r *fakeRing) reseal(kek keyring.KEK) error {
	r.kek = kek
	return nil
}

// wantSettled starts again and checks that the only file left is the one that opens the keyring.
func wantSettled(t *testing.T, own ownKEK, ring *fakeRing) {
	t.Helper()
	if err := own.open(ring.open); err != nil {
		t.Fatalf("the next start: %v", err)
	}
	kek, err := keyring.LoadKEKFile(own.path)
	if err != nil || !bytes.Equal(kek, ring.kek) {
		t.Errorf("the file holds another KEK than the keyring is sealed under (%v)", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(own.path), "*kek*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

var errCrash = errors.New("the process ends here")

// A reseal is interrupted at each step, and the next start uses the file that opens the keyring.
func TestOwnKEKSurvivesACrashAtEachStep(t *testing.T) {
	for name, c := range map[string]struct {
		crash    func(own ownKEK, ring *fakeRing) error
		replaced bool
	}{
		"before the keyring is sealed": {func(own ownKEK, _ *fakeRing) error {
			return own.replace(func(keyring.KEK) error { return errCrash })
		}, false},
		"after it, before the rename": {func(own ownKEK, ring *fakeRing) error {
			return own.replace(func(kek keyring.KEK) error { _ = ring.reseal(kek); return errCrash })
		}, true},
		"not at all": {func(own ownKEK, ring *fakeRing) error { return own.replace(ring.reseal) }, true},
		"twice, and repeated": {func(own ownKEK, ring *fakeRing) error {
			_ = own.replace(func(keyring.KEK) error { return errCrash })
			_ = own.replace(func(kek keyring.KEK) error { _ = ring.reseal(kek); return errCrash })
			return own.replace(ring.reseal)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			own, ring := ownKEK{path: filepath.Join(t.TempDir(), "kek")}, &fakeRing{}
			wantSettled(t, own, ring)
			old := ring.kek
			if err := c.crash(own, ring); err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			wantSettled(t, own, ring)
			if replaced := !bytes.Equal(old, ring.kek); replaced != c.replaced {
				t.Errorf("replaced: %v, want %v", replaced, c.replaced)
			}
		})
	}
}

// The error of a lost KEK file asks for it. A file that does not open the keyring is not put in its
// place, where an operator could mistake it for the KEK and overwrite the right copy with it.
func TestALostKEKIsNotReplaced(t *testing.T) {
	own, ring := ownKEK{path: filepath.Join(t.TempDir(), "kek")}, &fakeRing{}
	wantSettled(t, own, ring)
	if err := os.Remove(own.path); err != nil {
		t.Fatal(err)
	}
	own.needed = true
	if err := own.open(ring.open); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(own.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a new file: %v", err)
	}
}

func TestOwnKEKRefusesAKeyThatDoesNotOpenTheKeyring(t *testing.T) {
	own, ring := ownKEK{path: filepath.Join(t.TempDir(), "kek")}, &fakeRing{}
	wantSettled(t, own, ring)
	ring.kek = bytes.Repeat([]byte{7}, keyring.KEKSize)
	if err := own.open(ring.open); !errors.Is(err, keyring.ErrWrongKEK) {
		t.Errorf("one wrong file: %v", err)
	}
	_ = own.replace(func(keyring.KEK) error { return errCrash })
	if err := own.open(ring.open); !errors.Is(err, keyring.ErrWrongKEK) {
		t.Errorf("two wrong files: %v", err)
	}
	if err := os.Chmod(own.next(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := own.open(ring.open); err == nil || errors.Is(err, keyring.ErrWrongKEK) {
		t.Errorf("a file that others can read: %v", err)
	}
}
