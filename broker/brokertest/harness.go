package brokertest

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

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// Harness is a broker on the in-memory store and on fakes, with the user ada, whose password is lovelace.
type Harness struct {
	*Broker
	Store  *memstore.Store
	Ledger *Ledger
	Clock  *Clock
	Log    *strings.Builder
	Fatal  atomic.Pointer[error] // what Config.Fatal was called with
}

// Policy is the lifetimes of a [Harness].
var Policy = session.Policy{AccessLife: 5 * time.Minute, Idle: 336 * time.Hour, Absolute: 2160 * time.Hour, Grace: 10 * time.Second}

// Request is a person's request, and Operator an operator's.
var (
	Request  = broker.Request{Addr: "127.0.0.1", ID: "r1"}
	Operator = broker.Request{ID: "r2", Operator: "uid 1000", Note: "left the team"}
)

// Start starts a Harness, whose wiring change may alter, and closes it when the test ends.
func Start(t *testing.T, change ...func(*Config)) *Harness {
	t.Helper()
	h := &Harness{Clock: &Clock{now: time.Unix(1_800_000_000, 0)}, Ledger: &Ledger{Denied: map[string]bool{}}, Log: &strings.Builder{}}
	h.Store = memstore.New(h.Clock.Now)
	cfg := Config{
		Store: h.Store, Signer: Signer{}, Secrets: Secrets{}, Ledger: h.Ledger, Broadcast: h.Ledger,
		Denylist: h.Ledger, Clock: h.Clock, Passwords: Passwords{}, Throttle: Throttle{},
		Issuer: "http://issuer.test", Audience: []string{"demo-api"}, BrowserClient: "demo-spa", BrowserScope: "hello:read",
		Policy:   Policy,
		Observer: Observer{}, Logger: slog.New(slog.NewTextHandler(h.Log, nil)),
		Fatal: func(err error) { h.Fatal.Store(&err) },
	}
	for _, c := range change {
		c(&cfg)
	}
	h.Broker = Wire(cfg)
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	if _, err := h.AddUser(t.Context(), operator.NewUser{Username: "ada", Password: "lovelace"}, Request); err != nil {
		_ = WantCode(t, err, broker.CodeUserExists) // two brokers on one store
	}
	return h
}

// MustSignIn signs ada in.
func (h *Harness) MustSignIn(t *testing.T) *broker.Grant {
	t.Helper()
	grant, err := h.SignIn(t.Context(), "ada", "lovelace", Request)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// Rotate presents grant's refresh token and fails the test if it is refused.
func (h *Harness) Rotate(t *testing.T, grant *broker.Grant, req broker.Request) *broker.Grant {
	t.Helper()
	next, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, req)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// Live returns the sids of the live sessions.
func (h *Harness) Live(t *testing.T) []string {
	t.Helper()
	page, err := h.ListSessions(t.Context(), operator.SessionQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var sids []string
	for _, s := range page.Sessions {
		sids = append(sids, s.SID)
	}
	return sids
}

// WantCode fails the test unless err is an application error with that code.
func WantCode(t *testing.T, err error, code broker.Code) *broker.Error {
	t.Helper()
	var app *broker.Error
	if !errors.As(err, &app) || app.Code != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
	return app
}

// Claims returns the claims of a token that [Signer] signed.
func Claims(t *testing.T, token string) map[string]any {
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

// AtOnce runs do n times concurrently.
func AtOnce[T any](n int, do func(i int) (T, error)) []Outcome[T] {
	results := make([]Outcome[T], n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { results[i].Value, results[i].Err = do(i) })
	}
	wg.Wait()
	return results
}

// Outcome is the result of one call of [AtOnce].
type Outcome[T any] struct {
	Value T
	Err   error
}

// Put writes a record without a condition.
func (h *Harness) Put(t *testing.T, key, value string) {
	t.Helper()
	if errs := h.Store.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: key, Value: []byte(value), Blind: true}}}}, nil); errs[0] != nil {
		t.Fatal(errs)
	}
}

// Update changes ada.
func (h *Harness) Update(t *testing.T, change operator.UserChange) {
	t.Helper()
	if _, err := h.UpdateUser(t.Context(), "ada", change, Request); err != nil {
		t.Fatal(err)
	}
}
