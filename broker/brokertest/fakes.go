package brokertest

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Clock is a fake clock that only the test advances.
type Clock struct {
	mu  sync.Mutex // guards now
	now time.Time
	// TimeFloor is the time floor on record.
	TimeFloor atomic.Int64
}

// Now implements [broker.Clock].
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// RecordedTimeFloor implements [broker.Clock].
func (c *Clock) RecordedTimeFloor() int64 {
	return c.TimeFloor.Load()
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Signer returns the encoded claims as the token, so that a test can read them.
type Signer struct{}

// SignAccessToken implements [broker.Signer].
func (Signer) SignAccessToken(_ context.Context, claims []byte) (string, error) {
	return base64.RawURLEncoding.EncodeToString(claims), nil
}

// SignIDToken implements [broker.Signer].
func (Signer) SignIDToken(_ context.Context, build func(algorithm string) ([]byte, error)) (string, error) {
	claims, err := build("ES256")
	return base64.RawURLEncoding.EncodeToString(claims), err
}

// Secrets has a current and a previous key for each purpose, or, if Previous is set, only the previous one.
type Secrets struct{ Previous bool }

// Outdated implements [broker.Secrets].
func (Secrets) Outdated() error { return nil }

// Keys implements [broker.Secrets].
func (f Secrets) Keys(purpose string) [][]byte {
	old, current := []byte("old "+purpose), []byte("new "+purpose)
	if f.Previous {
		return [][]byte{old}
	}
	return [][]byte{current, old}
}

// Ledger records batches in memory; it is also the denylist and the broadcast. Mu guards its fields.
type Ledger struct {
	Mu      sync.Mutex
	Pending []revocation.Event
	Batches [][]revocation.Event
	Denied  map[string]bool   // by value
	Down    bool              // the broadcast
	Seals   int               // calls of Seal
	Broken  error             // of Find
	Rejoins []error           // the results of the next calls of Rejoin
	Joined  int               // calls of Rejoin
	Foreign error             // of Heads
	Barred  int               // calls of Heads
	Others  map[string]uint64 // heads of other origins
	Own     string            // the origin; if empty, it is "here"
}

// Seal implements [broker.Ledger].
func (l *Ledger) Seal(accepted []revocation.Event) ([]store.Write, error) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.Seals++
	l.Pending = append([]revocation.Event(nil), accepted...)
	return []store.Write{{Key: "ledger.test", Value: []byte("batch"), Blind: true}}, nil
}

// Committed implements [broker.Ledger].
func (l *Ledger) Committed() uint64 {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.Batches = append(l.Batches, l.Pending)
	for _, e := range l.Pending {
		l.Denied[e.Value] = true
	}
	return uint64(len(l.Batches))
}

// Head implements [broker.Ledger].
func (l *Ledger) Head() uint64 {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return uint64(len(l.Batches))
}

// Rejoin implements [broker.Ledger].
func (l *Ledger) Rejoin(context.Context) (err error) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.Joined++
	if len(l.Rejoins) > 0 {
		err, l.Rejoins = l.Rejoins[0], l.Rejoins[1:]
	}
	return err
}

// Heads implements [broker.Ledger].
func (l *Ledger) Heads(context.Context) (map[string]uint64, error) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.Barred++
	heads := maps.Clone(l.Others)
	if heads == nil {
		heads = map[string]uint64{}
	}
	if l.Foreign != nil {
		return nil, l.Foreign
	}
	heads[l.origin()] = uint64(len(l.Batches))
	return heads, nil
}

// Origin implements [broker.Ledger].
func (l *Ledger) Origin() string {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return l.origin()
}

func (l *Ledger) origin() string { return cmp.Or(l.Own, "here") }

// Find implements [broker.Ledger].
func (l *Ledger) Find(_ context.Context, kind revocation.Kind, value string) (revocation.Recorded, bool, error) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	for i := len(l.Batches) - 1; i >= 0; i-- {
		for _, e := range l.Batches[i] {
			if e.Kind == kind && e.Value == value {
				return revocation.Recorded{Event: e, Origin: l.origin(), Seq: uint64(i) + 1}, true, l.Broken
			}
		}
	}
	return revocation.Recorded{}, false, l.Broken
}

// Flushed implements [broker.Broadcast].
func (l *Ledger) Flushed(_ context.Context, origin string, seq uint64) bool {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return !l.Down && (seq == 0 || origin == l.origin())
}

// Revoked implements [broker.Denylist].
func (l *Ledger) Revoked(s revocation.Subject) bool {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return s.SID != "" && l.Denied[s.SID] || s.JTI != "" && l.Denied[s.JTI]
}

// Events returns all events on record.
func (l *Ledger) Events() []revocation.Event {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	var all []revocation.Event
	for _, b := range l.Batches {
		all = append(all, b...)
	}
	return all
}

// Passwords is a fake that hashes without cost. If Busy is set, every check returns [password.ErrBusy]. If Rehash is
// set, old hashes are replaced.
type Passwords struct{ Busy, Rehash bool }

// Hash implements [broker.Passwords].
func (f Passwords) Hash(_ context.Context, password string) (string, error) {
	if f.Rehash {
		return "rehashed " + password, nil
	}
	return "hashed " + password, nil
}

// Verify implements [broker.Passwords].
func (f Passwords) Verify(_ context.Context, _ password.Caller, attempt, encoded string) (bool, bool, error) {
	if f.Busy {
		return false, false, password.ErrBusy
	}
	return encoded == "hashed "+attempt || encoded == "rehashed "+attempt, f.Rehash && encoded == "hashed "+attempt, nil
}

// VerifyUnknown implements [broker.Passwords].
func (Passwords) VerifyUnknown(context.Context, password.Caller, string) error { return nil }

// Throttle allows every try if Wait is zero, and otherwise refuses every try for Wait.
type Throttle struct{ Wait time.Duration }

// Allow implements [broker.Throttle].
func (f Throttle) Allow(string, string) (time.Duration, bool) { return f.Wait, f.Wait == 0 }

// Known implements [broker.Throttle].
func (Throttle) Known(string) bool { return false }

// Done implements [broker.Throttle].
func (Throttle) Done(string, string, throttle.Outcome) {}

// Observer ignores commits.
type Observer struct{}

// Committed implements [broker.Observer].
func (Observer) Committed(int, []revocation.Event) {}
