package operator_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

// fakeKeys is a keyring of the keys k1, which signs, and k2.
type fakeKeys struct {
	mu   sync.Mutex
	dead map[string]bool
	err  error
	// done, if set, runs at the end of Compromise.
	done func()
}

func (f *fakeKeys) Compromise(_ context.Context, kid string) (broker.CompromisedKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return broker.CompromisedKey{}, f.err
	case kid != "k1" && kid != "k2":
		return broker.CompromisedKey{}, &broker.Error{Code: broker.CodeUnknownKey, Message: "No signing key has this kid; list the keys to find it."}
	}
	key := broker.CompromisedKey{Purpose: "access", Algorithm: "ES256", Changed: !f.dead[kid]}
	if kid == "k1" {
		key.Successor = "k2"
	}
	f.dead[kid] = true
	if f.done != nil {
		f.done()
	}
	return key, nil
}

func startWithKeys(t *testing.T) (*brokertest.Harness, *fakeKeys) {
	t.Helper()
	keys := &fakeKeys{dead: map[string]bool{}}
	return brokertest.Start(t, func(c *brokertest.Config) { c.Keys = keys }), keys
}

func TestRevokingAKeyRecordsAnEventUntilItsLastTokenExpiresAndEndsNoSession(t *testing.T) {
	h, _ := startWithKeys(t)
	grant := h.MustSignIn(t)
	done, err := h.RevokeKey(t.Context(), "k1", "", broker.Request{Operator: "uid 0", Note: "leaked"})
	if err != nil {
		t.Fatal(err)
	}
	want := operator.KeyRevoked{
		Revoked: operator.Revoked{Kind: "kid", Value: "k1", Changed: true, Broadcast: true},
		Purpose: "access", Algorithm: "ES256", Successor: "k2",
	}
	if done != want {
		t.Errorf("got %+v, want %+v", done, want)
	}
	events := h.Ledger.Events()
	if len(events) != 1 || events[0].Kind != revocation.KindKID || events[0].Value != "k1" || events[0].Reason != revocation.ReasonKeyCompromise ||
		events[0].ExpiresAt < grant.ExpiresAt.Unix() {
		t.Errorf("recorded %+v; the token lives until %d", events, grant.ExpiresAt.Unix())
	}
	if _, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request); err != nil {
		t.Errorf("the session has ended: %v", err)
	}
	for _, part := range []string{"event=key_revoke", "kid=k1", "successor=k2", `operator="uid 0"`, "note=leaked", "changed=true"} {
		if !strings.Contains(h.Log.String(), part) {
			t.Errorf("the audit line lacks %s:\n%s", part, h.Log)
		}
	}
}

// The keyring has recorded the compromise, and the process ended before the event was on disk.
func TestRevokingAKeyAgainRecordsTheMissingEvent(t *testing.T) {
	h, keys := startWithKeys(t)
	keys.dead["k1"] = true
	for i, changed := range []bool{true, false, false} {
		done, err := h.RevokeKey(t.Context(), "k1", "", brokertest.Request)
		if err != nil || done.Changed != changed || len(h.Ledger.Events()) != 1 {
			t.Errorf("call %d: %+v, %v, %d events", i, done, err, len(h.Ledger.Events()))
		}
	}
}

func TestRevokingAKeyIsCompletedAfterTheCallerLeft(t *testing.T) {
	h, keys := startWithKeys(t)
	ctx, cancel := context.WithCancel(t.Context())
	keys.done = cancel
	if _, err := h.RevokeKey(ctx, "k1", "", brokertest.Request); err != nil {
		t.Error(err)
	}
	if n := len(h.Ledger.Events()); n != 1 {
		t.Errorf("%d events are on record", n)
	}
}

func TestRevokeKeyRefusals(t *testing.T) {
	h, keys := startWithKeys(t)
	for _, c := range []struct {
		kid, reason string
		code        broker.Code
	}{
		{"k9", "", broker.CodeUnknownKey},
		{"", "", broker.CodeUnknownKey},
		{"k1\n", "", broker.CodeUnknownKey},
		{"k1", "because", broker.CodeInvalidRevocation},
	} {
		_, err := h.RevokeKey(t.Context(), c.kid, c.reason, brokertest.Request)
		brokertest.WantCode(t, err, c.code)
	}
	keys.err = errors.New("no disk")
	_, err := h.RevokeKey(t.Context(), "k1", "", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInternal)
	if len(h.Ledger.Events()) != 0 || keys.dead["k1"] {
		t.Errorf("events %v, dead %v", h.Ledger.Events(), keys.dead)
	}
}

// A longer lifetime of access tokens is used once services may know it, and never above Policy's.
func TestTheCurrentAccessLifeIsUsed(t *testing.T) {
	life := time.Minute
	h := brokertest.Start(t, func(c *brokertest.Config) { c.AccessLife = func() time.Duration { return life } })
	grant := h.MustSignIn(t)
	if grant.ExpiresIn != time.Minute {
		t.Errorf("lives %v", grant.ExpiresIn)
	}
	life = time.Hour
	h.Clock.Advance(time.Minute)
	if grant = h.MustSignIn(t); grant.ExpiresIn != brokertest.Policy.AccessLife {
		t.Errorf("lives %v", grant.ExpiresIn)
	}
}
