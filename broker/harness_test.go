package broker_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/broker"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a broker on the in-memory store, without a key, a disk or a network.
type harness struct {
	*broker.Broker
	store  *memstore.Store
	ledger *fakeLedger
	clock  *fakeClock
	log    *strings.Builder
	fatal  atomic.Pointer[error]
}

var policy = session.Policy{AccessLife: 5 * time.Minute, Idle: 336 * time.Hour, Absolute: 2160 * time.Hour, Grace: 10 * time.Second}

var request = broker.Request{Addr: "127.0.0.1", ID: "r1"}

func start(t *testing.T, change ...func(*broker.Config)) *harness {
	t.Helper()
	h := &harness{clock: &fakeClock{now: time.Unix(1_800_000_000, 0)}, ledger: &fakeLedger{denied: map[string]bool{}}, log: &strings.Builder{}}
	h.store = memstore.New(h.clock.Now)
	cfg := broker.Config{
		Store: h.store, Signer: fakeSigner{}, Secrets: fakeSecrets{}, Ledger: h.ledger, Broadcast: h.ledger,
		Denylist: h.ledger, Clock: h.clock, Passwords: fakePasswords{}, Throttle: fakeThrottle{},
		Issuer: "http://issuer.test", Audience: []string{"demo-api"}, BrowserClient: "demo-spa", BrowserScope: "hello:read",
		Policy:   policy,
		Observer: noObserver{}, Logger: slog.New(slog.NewTextHandler(&lockedWriter{b: h.log}, nil)),
		Fatal: func(err error) { h.fatal.Store(&err) },
	}
	for _, c := range change {
		c(&cfg)
	}
	h.Broker = broker.New(cfg)
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	if _, err := h.AddUser(t.Context(), broker.NewUser{Username: "ada", Password: "lovelace"}, request); err != nil {
		wantCode(t, err, broker.CodeUserExists) // two brokers on one store
	}
	return h
}

func (h *harness) signIn(t *testing.T) *broker.Grant {
	t.Helper()
	grant, err := h.SignIn(t.Context(), "ada", "lovelace", request)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// wantCode fails the test unless err is an application error with that code.
func wantCode(t *testing.T, err error, code broker.Code) *broker.Error {
	t.Helper()
	var app *broker.Error
	if !errors.As(err, &app) || app.Code != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
	return app
}

func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
	// floor is the time floor on record.
	floor int64
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) RecordedTimeFloor() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floor
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fakeSigner's token is the claims, so that a test can read them.
type fakeSigner struct{}

func (fakeSigner) SignAccessToken(_ context.Context, claims []byte) (string, error) {
	return base64.RawURLEncoding.EncodeToString(claims), nil
}

type fakeSecrets struct{ previous bool }

func (f fakeSecrets) Keys(purpose string) [][]byte {
	old, current := []byte("old "+purpose), []byte("new "+purpose)
	if f.previous {
		return [][]byte{old}
	}
	return [][]byte{current, old}
}

// fakeLedger records batches in memory; it is the denylist and the broadcast, too.
type fakeLedger struct {
	mu      sync.Mutex
	pending []revocation.Event
	batches [][]revocation.Event
	denied  map[string]bool
	down    bool
	seals   int
	broken  error // of Find
}

func (l *fakeLedger) Seal(accepted []revocation.Event) ([]store.Write, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seals++
	l.pending = append([]revocation.Event(nil), accepted...)
	return []store.Write{{Key: "ledger.test", Value: []byte("batch"), Blind: true}}, nil
}

func (l *fakeLedger) Committed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, l.pending)
	for _, e := range l.pending {
		l.denied[e.Value] = true
	}
	return uint64(len(l.batches))
}

func (l *fakeLedger) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.batches))
}

func (l *fakeLedger) Find(_ context.Context, kind revocation.Kind, value string) (revocation.Recorded, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.batches) - 1; i >= 0; i-- {
		for _, e := range l.batches[i] {
			if e.Kind == kind && e.Value == value {
				return revocation.Recorded{Event: e, Origin: "here", Seq: uint64(i) + 1}, true, l.broken
			}
		}
	}
	return revocation.Recorded{}, false, l.broken
}

func (l *fakeLedger) Flushed(context.Context, uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.down
}

func (l *fakeLedger) Revoked(s revocation.Subject) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.SID != "" && l.denied[s.SID] || s.JTI != "" && l.denied[s.JTI]
}

func (l *fakeLedger) events() []revocation.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []revocation.Event
	for _, b := range l.batches {
		all = append(all, b...)
	}
	return all
}

type fakePasswords struct {
	busy   bool
	rehash bool
}

func (f fakePasswords) Hash(_ context.Context, password string) (string, error) {
	if f.rehash {
		return "hashed anew " + password, nil
	}
	return "hashed " + password, nil
}

func (f fakePasswords) Verify(_ context.Context, _ password.Caller, attempt, encoded string) (bool, bool, error) {
	if f.busy {
		return false, false, password.ErrBusy
	}
	return encoded == "hashed "+attempt || encoded == "hashed anew "+attempt, f.rehash && encoded == "hashed "+attempt, nil
}

func (fakePasswords) VerifyUnknown(context.Context, password.Caller, string) error { return nil }

type fakeThrottle struct{ wait time.Duration }

func (f fakeThrottle) Allow(string, string) (time.Duration, bool) { return f.wait, f.wait == 0 }
func (fakeThrottle) Known(string) bool                            { return false }
func (fakeThrottle) Failed(string, string)                        {}
func (fakeThrottle) Succeeded(string, string)                     {}
func (fakeThrottle) Abandoned(string, string)                     {}
func (fakeThrottle) Refund(string, string)                        {}

type noObserver struct{}

func (noObserver) Committed(int, []revocation.Event) {}

type lockedWriter struct {
	mu sync.Mutex
	b  *strings.Builder
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}
