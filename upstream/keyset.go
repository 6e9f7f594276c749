package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

// algorithms is the allow-list; HS* and none are never among them.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.EdDSA}

var (
	errSignature  = errors.New("bad signature")
	errUnknownKey = errors.New("unknown key")
)

// keySet is a provider's keys. They are fetched when an unknown kid comes, and when they are
// older than maxKeyAge, so that a withdrawn key goes: at most once in refetchEvery (once in
// rediscover while that fails), by one request at a time. The last good keys stay when a
// fetch fails, but not beyond maxKeptAge.
type keySet struct {
	url     string
	client  *http.Client
	now     func() time.Time
	logger  *slog.Logger
	fetches *atomic.Int64
	reached func(error) // told how each fetch ended

	flight singleflight.Group

	mu      sync.Mutex
	keys    []jose.JSONWebKey // mu guards these four
	fetched time.Time
	tried   time.Time
	failed  error // the last attempt's
}

// verify returns the payload of a good signature and the protected header.
func (k *keySet) verify(ctx context.Context, token string) (payload []byte, head jose.Header, err error) {
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, head, errSignature
	}
	head = jws.Signatures[0].Protected
	keys, age := k.fitting(head)
	switch {
	case len(keys) == 0 || age > maxKeptAge:
		err = k.refetch(ctx)
	case age > maxKeyAge: // a good token does not wait for a provider that hangs
		short, cancel := context.WithTimeout(ctx, freshKeysWait)
		_ = k.refetch(short)
		cancel()
	default:
		if payload, err = verifyWith(keys, jws); err == nil || head.KeyID != "" {
			return payload, head, err
		}
		err = k.refetch(ctx) // no kid tells that the key is a new one
	}
	keys, age = k.fitting(head)
	switch {
	case (len(keys) == 0 || age > maxKeptAge) && err != nil:
		return nil, head, err // it may be a new key of a provider that does not answer
	case len(keys) == 0:
		return nil, head, errUnknownKey
	}
	payload, err = verifyWith(keys, jws)
	return payload, head, err
}

func verifyWith(keys []jose.JSONWebKey, jws *jose.JSONWebSignature) ([]byte, error) {
	for _, key := range keys {
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errSignature
}

// fitting returns the keys of the token's kid that can make its kind of signature, and how
// old they are. A token without a kid can be meant for one key alone (OIDC Core §10.1).
func (k *keySet) fitting(head jose.Header) (keys []jose.JSONWebKey, age time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if (head.KeyID == "" || key.KeyID == head.KeyID) && signs(key, head.Algorithm) {
			keys = append(keys, key)
		}
	}
	if head.KeyID == "" && len(keys) > 1 {
		keys = nil
	}
	return keys, k.now().Sub(k.fetched)
}

func signs(key jose.JSONWebKey, algorithm string) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch key.Key.(type) {
	case *rsa.PublicKey:
		return algorithm == string(jose.RS256) || algorithm == string(jose.PS256)
	case *ecdsa.PublicKey:
		return algorithm == string(jose.ES256)
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	}
	return false
}

// refetch fetches the keys unless that was tried just now; the error is that of the last
// attempt. The fetch serves all who wait: one that gives up does not end it.
func (k *keySet) refetch(ctx context.Context) error {
	answer := k.flight.DoChan("keys", func() (any, error) {
		k.mu.Lock()
		pause := refetchEvery
		if k.failed != nil {
			pause = rediscover
		}
		if !k.tried.IsZero() && k.now().Sub(k.tried) < pause {
			defer k.mu.Unlock()
			return nil, k.failed
		}
		k.tried = k.now()
		k.mu.Unlock()
		keys, err := k.fetch(context.WithoutCancel(ctx))
		k.reached(err)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.failed = err; err != nil {
			k.logger.WarnContext(ctx, "the provider's keys could not be fetched", "error", err, "known_keys", len(k.keys))
			return nil, err
		}
		k.keys, k.fetched = keys, k.now()
		return nil, nil
	})
	select {
	case a := <-answer:
		return a.Err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the keys: %w", ctx.Err())
	}
}

func (k *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	k.fetches.Add(1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching keys: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	// Key by key: one of an unknown kind must not make the others unusable.
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("fetching keys: the set has no usable key")
	}
	return keys, nil
}
