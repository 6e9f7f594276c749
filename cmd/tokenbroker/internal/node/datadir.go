package node

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"tokenbroker/internal/private"
	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// StoreDir returns the directory of the store in a data directory.
func StoreDir(dataDir string) string { return filepath.Join(dataDir, "store") }

// KEKFile returns the file of the key encryption key in a data directory. It is used if no key is configured.
func KEKFile(dataDir string) string { return filepath.Join(dataDir, "kek") }

// finishRestore completes a restore that was interrupted after its point of no return, and logs a warning about one
// that was interrupted before.
func (n *Node) finishRestore() error {
	dir := StoreDir(n.cfg.DataDir)
	kept, done, err := badgerstore.FinishReplace(dir, time.Now())
	switch {
	case err != nil:
		return err
	case done:
		n.cfg.Logger.Warn("a restore that had been broken off was finished: the restored store is in use", "replaced_store_kept", kept)
	}
	if staged, left := badgerstore.Abandoned(dir); left {
		n.cfg.Logger.Warn("a restore was broken off and changed nothing: run it again, or remove what it left", "left", staged)
	}
	return nil
}

// adviseOnDamage adds advice for the operator to the error of a damaged store.
func adviseOnDamage(err error) error {
	var damaged *badgerstore.DamagedError
	if !errors.As(err, &damaged) {
		return err
	}
	return fmt.Errorf("%w: the broker does not start, because it cannot know what was revoked; restore a backup with 'tokenbroker restore FILE'; without one, 'tokenbroker floor raise' signs everybody out and keeps what can be read", err)
}

// ownSecret reads a secret that the broker generates itself, or creates its file with mode 0600. It refuses a
// file that other users own or can read. what names the secret in errors.
func ownSecret(path, what string) (string, error) {
	text, err := private.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails
		text = []byte(base64.RawURLEncoding.EncodeToString(b[:]) + "\n")
		if err := private.CreateFile(path, text); err != nil {
			return "", fmt.Errorf("writing %s: %w", what, err)
		}
	} else if err != nil {
		return "", fmt.Errorf("reading %s: %w", what, err)
	}
	secret, err := private.SecretLine(string(text))
	if err != nil {
		return "", fmt.Errorf("%s in %s %w; remove the file to get a new one", what, path, err)
	}
	if len(secret) < 32 {
		return "", fmt.Errorf("%s in %s is too short: remove the file to get a new one", what, path)
	}
	return secret, nil
}

// KeyringKey is the key of the record that contains the keyring.
const KeyringKey = "keyring"

// KeyringStore returns a store for the keyring, which it keeps in a record of s.
func KeyringStore(s store.Store) keyring.Store { return keyringStore{s} }

// keyringStore keeps the keyring in a record of a store.
type keyringStore struct{ store store.Store }

var _ keyring.Store = keyringStore{}

// Load implements [keyring.Store].
func (k keyringStore) Load(ctx context.Context) ([]byte, uint64, error) {
	rec, err := k.store.Get(ctx, KeyringKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, keyring.ErrEmpty
	}
	return rec.Value, uint64(rec.Revision), err
}

// CompareAndSwap implements [keyring.Store].
func (k keyringStore) CompareAndSwap(ctx context.Context, data []byte, rev uint64) error {
	errs := k.store.Commit(ctx, []store.Change{{Writes: []store.Write{
		{Key: KeyringKey, Value: data, Expect: store.Revision(rev)},
	}}}, nil)
	if errors.Is(errs[0], store.ErrConflict) {
		return keyring.ErrConflict
	}
	return errs[0]
}
