package keyring

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tokenbroker/internal/private"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

// KEK is a key encryption key. Its bytes are not shown by fmt, encoding/json or log/slog.
type KEK []byte

// ParseKEK reads a KEK in the form of its file: 32 bytes as one line of standard base64
// (`openssl rand -base64 32`).
func ParseKEK(text []byte) (KEK, error) {
	line, err := private.SecretLine(string(text))
	if err != nil {
		return nil, fmt.Errorf("keyring: the KEK %w; a KEK is %d bytes in one line of standard base64 (openssl rand -base64 %d)", err, KEKSize, KEKSize)
	}
	kek, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil || len(kek) != KEKSize {
		return nil, fmt.Errorf("keyring: a KEK is %d bytes in standard base64 (openssl rand -base64 %d)", KEKSize, KEKSize)
	}
	if bytes.Count(kek, []byte{0}) == len(kek) {
		return nil, errors.New("keyring: all bytes of the KEK are zero; make one with openssl rand -base64 32")
	}
	return kek, nil
}

// fingerprintSize is the number of bytes of a [Fingerprint] before encoding.
const fingerprintSize = 16

// Fingerprint returns a short public name of a KEK: equal for equal KEKs, different for different ones, and
// without information about the key. It is in the records of brokers that share a store, by which a broker
// finds that another one has a different KEK. It is the first 128 bits of an HMAC-SHA256 under the KEK with a
// label of its own, in 26 lower-case letters and digits. A [Sealer] whose KEK stays in a KMS uses the
// KMS's name of the key instead.
func Fingerprint(kek KEK) string {
	mac := hmac.New(sha256.New, kek)
	mac.Write([]byte("tokenbroker KEK fingerprint"))
	return revocation.EncodeID(mac.Sum(nil)[:fingerprintSize])
}

// LoadOrCreateKEKFile reads the KEK from path, or makes the file (mode 0600, on disk when
// this returns) if there is none. Several callers that make it at once all get the same KEK.
// It refuses the same files as [LoadKEKFile].
//
// A new KEK cannot open an existing keyring: [Open] then fails with [ErrWrongKEK].
func LoadOrCreateKEKFile(path string) (KEK, error) {
	kek, err := LoadKEKFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return kek, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the KEK file's directory: %w", err)
	}
	if _, err := CreateKEKFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return LoadKEKFile(path)
}

// CreateKEKFile makes a file (mode 0600, on disk when this returns) with a new KEK.
// fs.ErrExist is in the error if there is something at path already.
func CreateKEKFile(path string) (KEK, error) {
	kek := make(KEK, KEKSize)
	_, _ = rand.Read(kek) // never fails
	text := base64.StdEncoding.EncodeToString(kek) + "\n"
	if err := private.CreateFile(path, []byte(text)); err != nil {
		return nil, fmt.Errorf("creating the KEK file %s: %w", path, err)
	}
	return kek, nil
}

// LoadKEKFile reads the KEK from path. It refuses a file that another user owns or that group
// or others can read, a link, and what is not a regular file (see [private.ReadFile]).
// The error wraps fs.ErrNotExist if the file does not exist.
func LoadKEKFile(path string) (KEK, error) {
	text, err := private.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the KEK file: %w", err)
	}
	kek, err := ParseKEK(text)
	if err != nil {
		return nil, fmt.Errorf("reading the KEK file %s: %w", path, err)
	}
	return kek, nil
}

// RotateKEK seals everything under another key encryption key, in one compare-and-set: the
// record opens completely under the old one or completely under the new one, whenever the process
// ends. When RotateKEK returns nil the new sealer is in use, and only then may the old KEK be
// removed. A record that is sealed under the new KEK already is used as it is, so that RotateKEK
// can be repeated.
//
// After an error the record may be under either KEK: keep both and repeat the call. Other brokers
// of the store continue with what they have until they are given the new KEK; on a shared store they
// are outdated within the margin.
func (k *Keyring) RotateKEK(ctx context.Context, sealer Sealer) error {
	if sealer == nil {
		return errors.New("resealing the keyring: a sealer is required")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for range changeTries {
		err := k.rotateKEKOnce(ctx, sealer)
		if err == nil {
			k.report(ctx, []lifecycle.Change{{What: lifecycle.ChangeResealed, At: k.cfg.Now().UTC()}})
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("resealing the keyring: %w", err)
		}
	}
	return fmt.Errorf("resealing the keyring: %w, %d times in a row", ErrConflict, changeTries)
}

func (k *Keyring) rotateKEKOnce(ctx context.Context, sealer Sealer) error {
	data, rev, err := k.cfg.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("loading the record: %w", err)
	}
	rec, err := decodeRecord(ctx, k.sealer, data)
	if errors.Is(err, ErrWrongKEK) {
		// It may be sealed under the new KEK already.
		s, err := k.open(ctx, sealer, data, rev)
		if err == nil {
			k.adoptSealed(s, sealer)
		}
		return err
	}
	if err != nil {
		return err
	}
	if rec, err = rec.reseal(ctx, k.sealer, sealer); err != nil {
		return err
	}
	s, err := newSnapshot(ctx, &k.cfg, sealer, rec)
	if err != nil {
		return err
	}
	sealed, err := rec.encode(ctx, sealer)
	if err != nil {
		return err
	}
	if err := k.cfg.Store.CompareAndSwap(ctx, sealed, rev); err != nil {
		if !errors.Is(err, ErrConflict) {
			k.newSealer = sealer // the record may have been stored nevertheless
		}
		return err
	}
	k.adoptSealed(s, sealer)
	return nil
}

func (k *Keyring) adoptSealed(s *snapshot, sealer Sealer) {
	k.sealer, k.newSealer = sealer, nil
	k.adopt(s)
}
