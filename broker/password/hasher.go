package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/crypto/argon2"
)

// MaxLength is the longest password, in bytes; the shortest is one byte.
const MaxLength = 1024

var (
	// ErrLength is the error of hashing a password that is empty or longer than MaxLength.
	ErrLength = fmt.Errorf("password must be 1 to %d bytes long", MaxLength)
	// ErrBusy means that too many wait already: try again later.
	ErrBusy = errors.New("too many passwords are being checked")
)

// Hasher hashes and verifies passwords. It is safe for concurrent use and starts no goroutine.
type Hasher struct {
	params Params
	line   line // a slot for each hash that is being computed
	key    func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte
}

// New makes a Hasher that computes at most concurrency hashes at once (0: one for each
// usable core) and lets at most queue callers wait; beyond that they get [ErrBusy] at once.
// They also get it when they have waited for wait (0: as long as it takes): how long a queue
// of some length takes depends on the machine and what else it does. Callers of [Low] priority
// can take at most three quarters of the queue, and at most a quarter of the slots for
// which callers of [High] priority wait. In a class, networks take turns, and where the queue is full,
// a caller of the network that has the most waiting gets [ErrBusy].
// New panics when a number is negative or [Params.Validate] refuses p: validate what comes
// from a configuration first.
func New(p Params, concurrency, queue int, wait time.Duration) *Hasher {
	if err := p.Validate(); err != nil {
		panic("password: " + err.Error())
	}
	if concurrency < 0 || queue < 0 || wait < 0 {
		panic("password: negative concurrency or queue")
	}
	if concurrency == 0 {
		concurrency = runtime.GOMAXPROCS(0)
	}
	return &Hasher{params: p.orDefault(), line: line{free: concurrency, places: queue, wait: wait}, key: argon2.IDKey}
}

// Hash returns the hash of password under a fresh salt, to be stored. Its priority is [High]:
// only operators and users who proved their old password set one.
// Errors are [ErrLength], [ErrBusy] and ctx.Err().
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if !fits(password) {
		return "", ErrLength
	}
	out := phc{params: h.params, salt: make([]byte, saltLen)}
	_, _ = rand.Read(out.salt) // never fails: crypto/rand ends the process instead
	var err error
	if out.key, err = h.derive(ctx, Caller{Priority: High}, password, out.params, out.salt, keyLen); err != nil {
		return "", err
	}
	return out.encode(), nil
}

// Verify tells whether password is the one that encoded was made from. needsRehash is set
// with ok when encoded was made with other parameters than the Hasher's. A password whose
// length is out of range is simply wrong, and takes no time.
// Errors are [ErrFormat], [ErrBusy] and ctx.Err(); ok is false with any of them.
func (h *Hasher) Verify(ctx context.Context, caller Caller, password, encoded string) (ok, needsRehash bool, err error) {
	want, err := decode(encoded)
	if err != nil {
		return false, false, err
	}
	if !fits(password) {
		return false, false, nil
	}
	got, err := h.derive(ctx, caller, password, want.params, want.salt, uint32(len(want.key)))
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, want.key) == 1
	return ok, ok && (want.params != h.params || len(want.salt) != saltLen || len(want.key) != keyLen), nil
}

// VerifyUnknown does the work of a [Hasher.Verify] that fails, for a user who does not exist or has
// no password: the time of the answer does not tell them from others (but for those whose
// hash was made with other parameters and who have not signed in since).
// Errors are [ErrBusy] and ctx.Err(), as with Verify.
func (h *Hasher) VerifyUnknown(ctx context.Context, caller Caller, password string) error {
	if !fits(password) {
		return nil
	}
	_, err := h.derive(ctx, caller, password, h.params, make([]byte, saltLen), keyLen)
	return err
}

func fits(password string) bool { return len(password) >= 1 && len(password) <= MaxLength }

// derive computes a key while it holds a slot. Once begun it cannot be interrupted.
func (h *Hasher) derive(ctx context.Context, caller Caller, password string, p Params, salt []byte, length uint32) ([]byte, error) {
	if err := h.line.acquire(ctx, caller); err != nil {
		return nil, err
	}
	defer h.line.release()
	return h.key([]byte(password), salt, p.Time, p.Memory, p.Threads, length), nil
}
