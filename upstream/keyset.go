package upstream

import (
	"context"
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

var (
	errSignature  = errors.New("bad signature")
	errUnknownKey = errors.New("unknown key")
)

// keySet has a provider's keys. They are fetched for a token with an unknown kid, and if they are
// older than maxKeyAge, so that withdrawn keys are removed. There is at most one fetch in
// refetchEvery (in rediscover after a failure), by one request at a time. If a fetch fails, the
// last keys stay valid until they are older than maxKeptAge.
type keySet struct {
	url     string
	allowed []jose.SignatureAlgorithm
	client  *http.Client
	now     func() time.Time
	logger  *slog.Logger
	fetches *atomic.Int64
	onFetch func(error) // called with the result of each fetch
	// untrusted is true if a client named the keys itself. Its mistakes are not warnings for the operator.
	untrusted bool

	flight singleflight.Group

	mu      sync.Mutex
	keys    []jose.JSONWebKey // mu guards this field and the four below
	unfit   string            // describes the unusable keys
	fetched time.Time
	tried   time.Time
	failed  error // error of the last attempt
}

// verify returns the payload and the protected header of a token with a valid signature.
func (k *keySet) verify(ctx context.Context, token string) (payload []byte, head jose.Header, err error) {
	jws, err := jose.ParseSignedCompact(token, k.allowed)
	if err != nil {
		return nil, head, errSignature
	}
	head = jws.Signatures[0].Protected
	key, age := k.keyFor(head)
	switch {
	case key == nil || age > maxKeptAge:
		err = k.refetch(ctx)
	case age > maxKeyAge: // a valid token does not wait for a provider that hangs
		short, cancel := context.WithTimeout(ctx, freshKeysWait)
		_ = k.refetch(short)
		cancel()
	default:
		if payload, err = verifyWith(key, jws); err == nil || head.KeyID != "" {
			return payload, head, err
		}
		err = k.refetch(ctx) // a token without a kid may be signed with a new key
	}
	key, age = k.keyFor(head)
	switch {
	case (key == nil || age > maxKeptAge) && err != nil:
		return nil, head, err // the key may be new, but the provider does not answer
	case key == nil:
		return nil, head, errUnknownKey
	}
	payload, err = verifyWith(key, jws)
	return payload, head, err
}

func verifyWith(key *jose.JSONWebKey, jws *jose.JSONWebSignature) ([]byte, error) {
	payload, err := jws.Verify(key.Key)
	if err != nil {
		return nil, errSignature
	}
	return payload, nil
}

// keyFor returns the key with the token's kid, if it supports the algorithm, and the age of the
// keys. A token without a kid must be unambiguous (OIDC Core §10.1): if several keys support the
// algorithm, keyFor returns nil.
func (k *keySet) keyFor(head jose.Header) (key *jose.JSONWebKey, age time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age = k.now().Sub(k.fetched)
	for i := range k.keys {
		if (head.KeyID != "" && k.keys[i].KeyID != head.KeyID) || !signs(k.keys[i], jose.SignatureAlgorithm(head.Algorithm)) {
			continue
		}
		if key != nil && !sameKey(*key, k.keys[i]) {
			return nil, age
		}
		key = &k.keys[i]
	}
	return key, age
}

// refetch fetches the keys unless an attempt was made just before. The error is that of the last
// attempt. All callers that wait share a fetch, which continues if one of them stops waiting.
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
		k.onFetch(err)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.failed = err; err != nil {
			k.logger.Log(ctx, k.level(), "the provider's keys could not be fetched", "error", err, "known_keys", len(k.keys))
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
		return nil, fmt.Errorf("fetching keys at jwks_uri: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching keys: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	keys, unfit, err := parseKeys(body, k.allowed)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	k.warn(ctx, unfit)
	return keys, nil
}

// warn logs the keys that cannot be used, once for each change.
func (k *keySet) warn(ctx context.Context, unfit []string) {
	text := ""
	if len(unfit) > 0 {
		text = listed(unfit)
	}
	k.mu.Lock()
	known := k.unfit == text
	k.unfit = text
	k.mu.Unlock()
	if !known && text != "" {
		k.logger.Log(ctx, k.level(), "some of the provider's keys cannot be used", "keys", text)
	}
}

func (k *keySet) level() slog.Level {
	if k.untrusted {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

func (k *keySet) report() KeyReport {
	k.mu.Lock()
	defer k.mu.Unlock()
	return KeyReport{Usable: len(k.keys), Unfit: k.unfit}
}
