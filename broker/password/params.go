package password

import (
	"errors"
	"fmt"
)

// Params is the cost of a hash. The zero value is [DefaultParams].
type Params struct {
	Memory  uint32 // in KiB
	Time    uint32 // passes over the memory
	Threads uint8
}

// DefaultParams are 19 MiB, two passes, one thread: about 25 ms of one core.
var DefaultParams = Params{Memory: 19 * 1024, Time: 2, Threads: 1}

// Upper limits of the parameters, also of those in a stored hash: nobody who can write a
// hash into the store or an import file can have a sign-in take all memory.
const (
	MaxMemory  = 256 * 1024 // KiB
	MaxTime    = 16
	MaxThreads = 16
)

// ErrParams is wrapped by the errors of [Params.Validate].
var ErrParams = errors.New("argon2id parameters out of range")

// Validate tells whether p can be used: at least 8 KiB a thread and one pass (RFC 9106
// section 3.1), and nothing above the limits. Whether p is strong enough is not its concern:
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
