package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// ErrFormat is the error of a stored hash that is not in the form that this package writes.
var ErrFormat = errors.New("not a valid argon2id password hash")

const (
	saltLen    = 16
	keyLen     = 32
	minSaltLen = 8
	maxSaltLen = 64
	minKeyLen  = 16
	maxKeyLen  = 64
	maxEncoded = 256
)

// phc is a hash in the PHC string format
// (https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md).
type phc struct {
	params    Params
	salt, key []byte
}

var b64 = base64.RawStdEncoding.Strict()

func (h phc) encode() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.params.Memory, h.params.Time, h.params.Threads, b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

// decode takes exactly what encode gives: one spelling for each hash, parameters within
// the limits, version 19. Anything else is ErrFormat; the error does not repeat it.
func decode(s string) (phc, error) {
	var h phc
	if len(s) > maxEncoded {
		return phc{}, ErrFormat
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return phc{}, ErrFormat
	}
	var err error
	if _, err = fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.params.Memory, &h.params.Time, &h.params.Threads); err != nil {
		return phc{}, ErrFormat
	}
	if h.params == (Params{}) || h.params.Validate() != nil {
		return phc{}, ErrFormat
	}
	if h.salt, err = b64.DecodeString(parts[4]); err != nil || len(h.salt) < minSaltLen || len(h.salt) > maxSaltLen {
		return phc{}, ErrFormat
	}
	if h.key, err = b64.DecodeString(parts[5]); err != nil || len(h.key) < minKeyLen || len(h.key) > maxKeyLen {
		return phc{}, ErrFormat
	}
	if h.encode() != s {
		return phc{}, ErrFormat
	}
	return h, nil
}
