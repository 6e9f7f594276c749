// Package password hashes and checks passwords with argon2id (RFC 9106).
//
// A [Hasher] does the work in the caller's goroutine and bounds how many do so at once:
// each takes Params.Memory and a core, so a flood of sign-ins must wait in a short line and
// be refused beyond it. Callers of [High] priority pass those of [Low] in the line, and have
// places in it that a flood cannot take. Networks take turns, so that one that sends many
// callers delays its own.
//
//	ok, rehash, err := hasher.Verify(ctx, caller, password, user.PasswordHash)
//	switch {
//	case err != nil: // ErrBusy, the caller gave up, or a damaged record
//	case ok && rehash: // store hasher.Hash(ctx, password)
//	}
//
// Passwords are compared in NFC (RFC 8265 §4.2.2, NIST SP 800-63B), so that what is typed on
// another keyboard is the same password. One that differs from its NFC costs a second computation
// where the first fails.
//
// For a user who does not exist, call [Hasher.VerifyUnknown], so that the answer takes as
// long. Hashes are stored in the PHC string format:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
//
// Neither passwords nor hashes appear in errors, and the package logs nothing.
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
	"golang.org/x/text/unicode/norm"
)

// MaxLength is the longest password, in bytes, as it is given and in NFC; the shortest is one byte.
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
	slots  semaphore // a slot for each hash that is being computed
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
	return &Hasher{params: p.orDefault(), slots: semaphore{free: concurrency, maxWaiting: queue, wait: wait}, key: argon2.IDKey}
}

// Hash returns the hash of password, in NFC, under a fresh salt, to be stored. Its priority is [High]:
// only operators and users who proved their old password set one.
// Errors are [ErrLength], [ErrBusy] and ctx.Err().
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if !fits(password) {
		return "", ErrLength
	}
	if password = norm.NFC.String(password); !fits(password) {
		return "", ErrLength
	}
	out := phc{params: h.params, salt: make([]byte, saltLen)}
	_, _ = rand.Read(out.salt) // never fails: crypto/rand ends the process instead
	if err := h.slots.acquire(ctx, Caller{Priority: High}); err != nil {
		return "", err
	}
	defer h.slots.release()
	out.key = h.derive(password, out.params, out.salt, keyLen)
	return out.encode(), nil
}

// Verify tells whether password is the one that encoded was made from, which [Hasher.Hash] compares in NFC. A
// password that differs from its NFC is tried as it is after that failed: earlier versions hashed what they
// were given. needsRehash is set with ok when encoded was made from such a text, or with other
// parameters than the Hasher's. A password whose length is out of range is simply wrong, and takes no time.
// Errors are [ErrFormat], [ErrBusy] and ctx.Err(); ok is false with any of them.
func (h *Hasher) Verify(ctx context.Context, caller Caller, password, encoded string) (ok, needsRehash bool, err error) {
	want, err := decode(encoded)
	if err != nil {
		return false, false, err
	}
	form, err := h.try(ctx, caller, password, want)
	ok = form >= 0
	return ok, ok && (form > 0 || want.params != h.params || len(want.salt) != saltLen || len(want.key) != keyLen), err
}

// VerifyUnknown does the work of a [Hasher.Verify] that fails, for a user who does not exist or has
// no password: the time of the answer does not tell them from others (but for those whose
// hash was made with other parameters and who have not signed in since).
// Errors are [ErrBusy] and ctx.Err(), as with Verify.
func (h *Hasher) VerifyUnknown(ctx context.Context, caller Caller, password string) error {
	_, err := h.try(ctx, caller, password, phc{params: h.params, salt: make([]byte, saltLen), key: make([]byte, keyLen)})
	return err
}

// noForm is of a password that no form of was hashed.
const noForm = -1

// try returns which of the forms of password want was made from, or noForm. It takes one slot for
// all of them.
func (h *Hasher) try(ctx context.Context, caller Caller, password string, want phc) (form int, err error) {
	forms := forms(password)
	if len(forms) == 0 {
		return noForm, nil
	}
	if err := h.slots.acquire(ctx, caller); err != nil {
		return noForm, err
	}
	defer h.slots.release()
	for i, text := range forms {
		got := h.derive(text, want.params, want.salt, uint32(len(want.key)))
		if subtle.ConstantTimeCompare(got, want.key) == 1 {
			return i, nil
		}
	}
	return noForm, nil
}

// forms are what a stored hash of password can have been made from, the likeliest first: its NFC
// and, where that differs, the password as it is; none if its length is out of range.
func forms(password string) []string {
	if !fits(password) {
		return nil
	}
	composed := norm.NFC.String(password)
	switch {
	case composed == password, !fits(composed): // one that grew too long was never hashed
		return []string{password}
	}
	return []string{composed, password}
}

func fits(password string) bool { return len(password) >= 1 && len(password) <= MaxLength }

// derive computes a key; the caller holds a slot. It cannot be interrupted.
func (h *Hasher) derive(password string, p Params, salt []byte, length uint32) []byte {
	return h.key([]byte(password), salt, p.Time, p.Memory, p.Threads, length)
}
