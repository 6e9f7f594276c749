// Package password hashes and verifies passwords with argon2id (RFC 9106).
//
// A [Hasher] computes in the caller's goroutine and limits how many callers do so at once, because
// each computation uses Params.Memory and a core. Further callers wait in a short queue, and are
// refused if it is full. Callers of [High] priority are served before those of [Low], and have
// places in the queue that a flood of Low callers cannot take. Networks take turns, so that a
// network with many callers delays mainly itself.
//
//	ok, rehash, err := hasher.Verify(ctx, caller, password, user.PasswordHash)
//	switch {
//	case err != nil: // ErrBusy, the caller's context ended, or a damaged record
//	case ok && rehash: // store hasher.Hash(ctx, password)
//	}
//
// Passwords are compared in NFC (RFC 8265 §4.2.2, NIST SP 800-63B), so that another keyboard or
// operating system produces the same password. If a password differs from its NFC, verifying it
// costs a second computation when the first fails.
//
// For a user who does not exist, call [Hasher.VerifyUnknown], so that the answer takes the same
// time. Hashes are stored in the PHC string format:
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

// MaxLength is the longest password in bytes, as entered and in NFC. The shortest is one byte.
const MaxLength = 1024

var (
	// ErrLength is the error of hashing a password that is empty or longer than MaxLength.
	ErrLength = fmt.Errorf("password must be 1 to %d bytes long", MaxLength)
	// ErrBusy means that too many callers already wait: try again later.
	ErrBusy = errors.New("too many passwords are being checked")
)

// Hasher hashes and verifies passwords. It is safe for concurrent use and starts no goroutine.
type Hasher struct {
	params Params
	slots  semaphore // a slot for each hash that is being computed
	key    func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte
}

// New returns a Hasher that computes at most concurrency hashes at once (if zero, one for each usable
// core) and lets at most queue callers wait. Further callers get [ErrBusy] at once. Callers that
// have waited for wait (if zero, without limit) also get it, because the time that a queue takes
// depends on the machine and its load. Callers of [Low] priority can take at most three quarters of
// the queue, and at most a quarter of the slots for which callers of [High] priority wait. In a
// priority, networks take turns. If the queue is full, a caller of the network with the most waiting
// callers gets [ErrBusy].
//
// New panics if a number is negative or [Params.Validate] refuses p. Validate configured values
// first.
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

// Hash returns the hash of password, in NFC and with a new salt, to be stored. Its priority is [High],
// because only operators and users who have proved their old password set a password.
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

// Verify reports whether password matches the stored hash encoded. It compares the NFC of password
// and then, if that differs and does not match, password as entered, which earlier versions hashed.
// needsRehash is set with ok if encoded was made in that earlier form or with other parameters than
// the Hasher's. A password whose length is out of range is wrong, and is not computed.
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

// VerifyUnknown does the work of a failing [Hasher.Verify] for a user who does not exist or does not
// have a password, so that the time of the answer does not reveal it. (The time still differs for
// users whose hash has other parameters, until their next sign-in.)
// Errors are [ErrBusy] and ctx.Err(), as with Verify.
func (h *Hasher) VerifyUnknown(ctx context.Context, caller Caller, password string) error {
	_, err := h.try(ctx, caller, password, phc{params: h.params, salt: make([]byte, saltLen), key: make([]byte, keyLen)})
	return err
}

// noForm is the result of try if no form of the password matches.
const noForm = -1

// try returns the index of the form of password that matches want, or noForm. It takes one slot for
// all forms.
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

// forms returns the texts from which a stored hash of password can have been made, the most likely
// first: its NFC and, if that differs, the password as entered. It returns none if the length is out
// of range.
func forms(password string) []string {
	if !fits(password) {
		return nil
	}
	composed := norm.NFC.String(password)
	switch {
	case composed == password, !fits(composed): // an NFC that is too long was never hashed
		return []string{password}
	}
	return []string{composed, password}
}

func fits(password string) bool { return len(password) >= 1 && len(password) <= MaxLength }

// derive computes a key. The caller holds a slot. The computation cannot be interrupted.
func (h *Hasher) derive(password string, p Params, salt []byte, length uint32) []byte {
	return h.key([]byte(password), salt, p.Time, p.Memory, p.Threads, length)
}
