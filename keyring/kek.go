package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tokenbroker/internal/private"
)

// KEK is a key encryption key. It shows itself nowhere as text.
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
		return nil, errors.New("keyring: the KEK is all bytes of zero; make one by openssl rand -base64 32")
	}
	return kek, nil
}

// LoadOrCreateKEKFile reads the KEK from path, or makes the file (mode 0600, on disk when
// this returns) if there is none; several callers that make it at once all get the same KEK.
// It refuses the same files as [LoadKEKFile].
//
// A new file beside an old keyring cannot open it: [Open] then fails with [ErrWrongKEK].
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
// fs.ErrNotExist is in the error if there is no file.
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
