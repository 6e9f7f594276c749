// Package validatortest is a token broker in the process of a test, so that a service can
// test how it treats valid, expired and revoked tokens against the real
// [validator.New], with no broker, no NATS and no network but the loopback:
//
//	issuer := validatortest.New(t)
//	v, err := validator.New(ctx, issuer.Config("orders"))
//	token := issuer.Mint(validatortest.Claims{"sub": "ada", "scope": "orders:read"})
//	…
//	issuer.Revoke(revocation.Event{Kind: revocation.KindSub, Value: "ada", Epoch: 2})
//	validatortest.Await(t, v, token, validator.ErrRevoked)
//
// The package's examples are complete tests of a service.
package validatortest

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/validator"
)

// The account with which a service under test asks for revocations.
const (
	ClientID     = "test-service"
	ClientSecret = "test-service-secret"
)

// Issuer is a fake broker: discovery, keys, catch-up and introspection over HTTP, and revocations over its
// own [revocation.Feed]. It signs any payload. It is safe for concurrent use.
type Issuer struct {
	server  *httptest.Server
	started time.Time
	store   string
	origin  string
	feedKey ed25519.PrivateKey
	feedKID string
	// denylist has all revocations, for introspections.
	denylist *revocation.Denylist

	mu sync.Mutex
	// mu guards everything below.
	keys   []signingKey // the last one signs
	gone   []string     // compromised key ids
	events [][]revocation.Event
	sinks  map[*subscription]revocation.Sink
	// audiences are those of Config, which Mint's tokens are for.
	audiences []string
	silent    bool
	down      bool
	nextID    int
	// Simulated faults, and counters.
	catchUpDown, introspectionDown bool
	introspections                 int
	receipts                       map[string]revocation.Receipt // the last one of each service
}

// New starts an Issuer that is closed when the test ends.
func New(tb testing.TB) *Issuer {
	tb.Helper()
	issuer := Start()
	tb.Cleanup(issuer.Close)
	return issuer
}

// Start starts an Issuer with one ES256 key. The caller closes it.
func Start() *Issuer {
	_, feedKey, _ := ed25519.GenerateKey(rand.Reader) // it fails only when the system has no randomness, and then crashes
	i := &Issuer{
		started:  time.Now(),
		store:    "store-" + rand.Text(),
		origin:   "origin-" + rand.Text(),
		feedKey:  feedKey,
		feedKID:  "feed-1",
		denylist: revocation.NewDenylist(),
		sinks:    make(map[*subscription]revocation.Sink),
		receipts: make(map[string]revocation.Receipt),
	}
	i.Rotate("ES256")
	i.server = httptest.NewServer(i.handler())
	return i
}

// Close stops the HTTP server.
func (i *Issuer) Close() { i.server.Close() }

// URL returns the issuer: iss in the tokens.
func (i *Issuer) URL() string { return i.server.URL }

// Config returns what [validator.New] needs for this Issuer. From then on, [Issuer.Mint]
// makes tokens for that audience.
func (i *Issuer) Config(audience string) validator.Config {
	i.mu.Lock()
	if !slices.Contains(i.audiences, audience) {
		i.audiences = append(i.audiences, audience)
	}
	i.mu.Unlock()
	return validator.Config{
		Issuer:   i.URL(),
		Audience: audience,
		Client:   validator.Client{ID: ClientID, Secret: ClientSecret},
		Feed:     i.Feed(),
	}
}

// Rotate publishes a new key for alg (ES256, EdDSA, RS256 or PS256) that signs from now
// on, and returns its kid. The older keys stay published.
func (i *Issuer) Rotate(alg string) (kid string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.nextID++
	key := newSigningKey(fmt.Sprintf("key-%d", i.nextID), alg)
	i.keys = append(i.keys, key)
	return key.kid
}

// Withdraw removes a key from the published set. If compromised is set, all its tokens are also revoked
// permanently.
func (i *Issuer) Withdraw(kid string, compromised bool) {
	i.mu.Lock()
	i.keys = slices.DeleteFunc(i.keys, func(k signingKey) bool { return k.kid == kid })
	if compromised {
		i.gone = append(i.gone, kid)
	}
	i.mu.Unlock()
	if compromised {
		i.Revoke(revocation.Event{Kind: revocation.KindKID, Value: kid, Reason: revocation.ReasonKeyCompromise})
		return
	}
	i.Heartbeat()
}

// Key returns a published key, in the form of [validator.InProcessConfig].Keys.
func (i *Issuer) Key(kid string) (alg string, public crypto.PublicKey, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, k := range i.keys {
		if k.kid == kid {
			return string(k.alg), k.private.Public(), true
		}
	}
	return "", nil, false
}

// Revoke records the events as one batch and sends it to the feed. If ExpiresAt, At and
// Reason are empty, they are in an hour, now and revoked. A validator knows a moment later; see
// [Await].
func (i *Issuer) Revoke(events ...revocation.Event) {
	now := time.Now().Unix()
	events = slices.Clone(events)
	for n := range events {
		e := &events[n]
		if e.At == 0 {
			e.At = now
		}
		if e.ExpiresAt == 0 {
			e.ExpiresAt = now + 3600
		}
		if e.Reason == "" {
			e.Reason = revocation.ReasonRevoked
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.events = append(i.events, events)
	i.denylist.Apply(events...)
	i.send(revocation.BatchType, revocation.Batch{
		V: revocation.Version, Store: i.store, Origin: i.origin,
		Seq: uint64(len(i.events)), At: now, Events: events,
	})
}

// RevokeSession revokes the tokens of a session, as a log-off does.
func (i *Issuer) RevokeSession(sid string) {
	i.Revoke(revocation.Event{Kind: revocation.KindSID, Value: sid, Reason: revocation.ReasonLogoff})
}

// Await validates token repeatedly for up to a minute, until the result matches want by [errors.Is], or is
// nil if want is nil. Otherwise it fails the test.
func Await(tb testing.TB, v *validator.Validator, token string, want error) {
	tb.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if _, err = v.Validate(context.Background(), token); errors.Is(err, want) {
			return
		}
		select {
		case <-tb.Context().Done():
			tb.Fatalf("waiting for a verdict: got %v, want %v", err, want)
		case <-time.After(2 * time.Millisecond):
		}
	}
	tb.Fatalf("the verdict is %v, want %v", err, want)
}
