package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Params is the cost of a hash. The zero value is [DefaultParams].
type Params struct {
	Memory  uint32 // in KiB
	Time    uint32 // passes over the memory
	Threads uint8
}

// DefaultParams are 19 MiB, two passes, one thread: about 25 ms of one core.
var DefaultParams = Params{Memory: 19 * 1024, Time: 2, Threads: 1}

// Upper limits of the parameters, also of those in a stored hash: a hash that someone writes into
// the store or an import file cannot make a sign-in use all memory.
const (
	MaxMemory  = 256 * 1024 // KiB
	MaxTime    = 16
	MaxThreads = 16
)

// ErrParams is wrapped by the errors of [Params.Validate].
var ErrParams = errors.New("argon2id parameters out of range")

// Validate returns an error unless p has at least 8 KiB for each thread, at least one pass (RFC 9106
// section 3.1), and nothing above the limits. It does not check whether p is strong enough, because
// tests use small parameters. The zero value is valid.
func (p Params) Validate() error {
	p = p.orDefault()
	switch {
	case p.Threads < 1 || p.Threads > MaxThreads:
		return fmt.Errorf("%w: threads %d, want 1 to %d", ErrParams, p.Threads, MaxThreads)
	case p.Time < 1 || p.Time > MaxTime:
		return fmt.Errorf("%w: time %d, want 1 to %d passes", ErrParams, p.Time, MaxTime)
	case p.Memory < 8*uint32(p.Threads) || p.Memory > MaxMemory:
		return fmt.Errorf("%w: memory %d, want %d to %d KiB", ErrParams, p.Memory, 8*uint32(p.Threads), MaxMemory)
	}
	return nil
}

func (p Params) orDefault() Params {
	if p == (Params{}) {
		return DefaultParams
	}
	return p
}

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

// decode accepts only what encode returns: one spelling for each hash, parameters within the limits,
// version 19. The error for anything else is ErrFormat, which does not quote s.
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
