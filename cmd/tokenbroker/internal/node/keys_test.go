package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/validator"
)

// newKeyLab returns a lab with a broker that does not check passwords.
func newKeyLab(t *testing.T, change func(*node.Config)) *lab {
	t.Helper()
	l := newLab(t)
	l.startNATS()
	cfg := l.config()
	cfg.Providers = func(string, node.Transport) (map[string]node.Provider, error) {
		return map[string]node.Provider{"believing": believingProvider{}}, nil
	}
	change(&cfg)
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.node = n
	t.Cleanup(l.stopBroker)
	return l
}

// signInAs starts a session without HTTP.
func (l *lab) signInAs(name string) *broker.Grant {
	l.t.Helper()
	grant, err := l.node.EndUsers().ExchangeTokens(l.t.Context(), "believing", broker.UpstreamTokens{IDToken: name}, broker.Request{})
	if err != nil {
		l.t.Fatal(err)
	}
	return grant
}

func (l *lab) services() []*validator.Validator {
	l.t.Helper()
	over := func(c *validator.Config) {
		c.Feed = httpfeed.Feed{URL: l.node.Issuer(), Client: c.Client}
	}
	return []*validator.Validator{l.startService(30 * time.Second), l.startService(30 * time.Second), l.startService(30*time.Second, over)}
}

// activeKey returns the active key of a purpose, as the operators' surface reports it.
func (l *lab) activeKey(purpose string) string {
	l.t.Helper()
	keys, err := node.OperatorKeys(l.node).ListKeys(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, k := range keys.Keys {
		if string(k.Purpose) == purpose && k.State == "active" {
			return k.KID
		}
	}
	l.t.Fatalf("no active %s key: %+v", purpose, keys)
	return ""
}

// keyEvent verifies and decodes a broker's message about its keys.
func (l *lab) keyEvent(raw []byte) revocation.KeyEvent {
	l.t.Helper()
	resp, err := http.Get(l.node.Issuer() + "/revocations/jwks.json")
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&keys); err != nil {
		l.t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(string(raw), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || jws.Signatures[0].Header.ExtraHeaders[jose.HeaderType] != revocation.KeysType {
		l.t.Fatalf("%s: %v", raw, err)
	}
	payload, err := jws.Verify(keys.Key(jws.Signatures[0].Header.KeyID)[0].Key)
	var event revocation.KeyEvent
	if err != nil || json.Unmarshal(payload, &event) != nil {
		l.t.Fatalf("%s: %v", raw, err)
	}
	return event
}

// After a key was marked as compromised, every service refuses its tokens, and no session ends.
func TestACompromisedKeyCostsNoSession(t *testing.T) {
	t.Parallel()
	sessions := longtest.Pick(200, 1000)
	l := newKeyLab(t, func(*node.Config) {})
	services := l.services()
	grants := make([]*broker.Grant, sessions)
	var all sync.WaitGroup
	for part := range 8 {
		all.Go(func() {
			for i := part; i < sessions; i += 8 {
				grants[i] = l.signInAs(fmt.Sprintf("user-%d", i))
			}
		})
	}
	all.Wait()
	for _, v := range services {
		for _, g := range grants {
			if _, err := v.Validate(t.Context(), g.AccessToken); err != nil {
				t.Fatal(err)
			}
		}
	}
	leaked := l.activeKey("access")
	done, err := l.node.Operators().RevokeKey(t.Context(), leaked, "", broker.Request{Operator: "uid 0", Note: "leaked"})
	if err != nil || !done.Changed || !done.Broadcast || done.Successor == leaked || done.Successor != l.activeKey("access") {
		t.Fatalf("%+v, %v", done, err)
	}
	applied := time.Now()
	for i, v := range services {
		eventually(t, "the service has the event", func() bool {
			_, err := v.Validate(t.Context(), grants[0].AccessToken)
			return errors.Is(err, validator.ErrRevoked)
		})
		t.Logf("service %d: after %s", i, time.Since(applied))
		for _, g := range grants {
			if _, err := v.Validate(t.Context(), g.AccessToken); !errors.Is(err, validator.ErrRevoked) {
				t.Fatalf("service %d accepts an old token: %v", i, err)
			}
		}
	}
	for i, g := range grants {
		renewed, err := l.node.EndUsers().Refresh(t.Context(), g.RefreshToken, g.CSRFToken, broker.Request{})
		if err != nil {
			t.Fatalf("session %d is lost: %v", i, err)
		}
		for _, v := range services {
			if _, err := v.Validate(t.Context(), renewed.AccessToken); err != nil {
				t.Fatalf("session %d: its new token: %v", i, err)
			}
		}
	}
	again, err := l.node.Operators().RevokeKey(t.Context(), leaked, "", broker.Request{})
	if err != nil || again.Changed {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// After a feed key was marked as compromised, its successor signs, and the services fetch it and
// continue.
func TestACompromisedFeedKeyIsReplaced(t *testing.T) {
	t.Parallel()
	l := newKeyLab(t, func(*node.Config) {})
	services := l.services()
	nc := l.dialNATS()
	told, err := nc.SubscribeSync(revocation.KeysSubject + ">")
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	leaked := l.activeKey("feed")
	if _, err := l.node.Operators().RevokeKey(t.Context(), leaked, "", broker.Request{}); err != nil {
		t.Fatal(err)
	}
	for i, v := range services {
		g := l.signInAs(fmt.Sprintf("after-%d", i))
		if _, err := l.node.Operators().RevokeSession(t.Context(), g.SID, "", broker.Request{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the service hears what the new key signs", func() bool {
			_, err := v.Validate(t.Context(), g.AccessToken)
			return errors.Is(err, validator.ErrRevoked)
		})
	}
	var whats []string
	for len(whats) < 3 {
		m, err := told.NextMsg(patience)
		if err != nil {
			t.Fatalf("reported changes %v: %v", whats, err)
		}
		event := l.keyEvent(m.Data)
		if event.Purpose != "feed" || event.KID == "" || event.Store == "" {
			t.Fatalf("unexpected message %s", m.Data)
		}
		whats = append(whats, event.What)
	}
	slices.Sort(whats)
	if want := []string{"key_activated", "key_compromised", "key_made"}; !slices.Equal(whats, want) {
		t.Errorf("reported changes %v, want %v", whats, want)
	}
}

// Keys rotate every few seconds while tokens are minted and validated, and no token is refused.
func TestRotationOnScheduleRefusesNoToken(t *testing.T) {
	longtest.SkipShort(t, "waits for rotations")
	t.Parallel()
	l := newKeyLab(t, func(cfg *node.Config) {
		cfg.JWKSMaxAge, cfg.RotateEvery = time.Second, 2*time.Second
		cfg.Policy = session.Policy{AccessLife: 2 * time.Second, Idle: time.Hour, Absolute: time.Hour, Grace: time.Second}
	})
	services := l.services()
	signed := map[string]bool{}
	for minted, until := 0, time.Now().Add(patience); len(signed) < 3; minted++ {
		if time.Now().After(until) {
			t.Fatalf("%d keys signed within %s", len(signed), patience)
		}
		g := l.signInAs(fmt.Sprintf("user-%d", minted))
		signed[l.activeKey("access")] = true
		for i, v := range services {
			_, err := v.Validate(t.Context(), g.AccessToken)
			if late := errors.Is(err, validator.ErrExpired) && !time.Now().Before(g.ExpiresAt); err != nil && !late {
				t.Fatalf("service %d refuses token %d: %v", i, minted, err)
			}
		}
	}
	resp, err := http.Get(l.node.Issuer() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %d", resp.StatusCode)
	}
}
