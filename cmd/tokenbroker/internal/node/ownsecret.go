package node

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"tokenbroker/internal/private"
)

// ownSecret reads a secret that the broker makes itself, or makes it (mode 0600). A file that
// others own or can read is refused: they would know the secret. In errors, what names it.
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
