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

// keySet is a provider's keys. They are fetched when an unknown kid comes, and when they are
// older than maxKeyAge, so that a withdrawn key goes: at most once in refetchEvery (once in
// rediscover while that fails), by one request at a time. The last good keys stay when a
// fetch fails, but not beyond maxKeptAge.
type keySet struct {
	url     string
	allowed []jose.SignatureAlgorithm
	client  *http.Client
	now     func() time.Time
	logger  *slog.Logger
	fetches *atomic.Int64
	onFetch func(error) // called with the result of each fetch

	flight singleflight.Group

	mu      sync.Mutex
	keys    []jose.JSONWebKey // mu guards these five
	unfit   string            // the keys that were left out, with the reasons
	fetched time.Time
	tried   time.Time
	failed  error // the last attempt's
}

// verify returns the payload of a good signature and the protected header.
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
	case age > maxKeyAge: // a good token does not wait for a provider that hangs
		short, cancel := context.WithTimeout(ctx, freshKeysWait)
		_ = k.refetch(short)
		cancel()
	default:
		if payload, err = verifyWith(key, jws); err == nil || head.KeyID != "" {
			return payload, head, err
		}
		err = k.refetch(ctx) // without a kid, it may be signed with a new key
	}
	key, age = k.keyFor(head)
	switch {
	case (key == nil || age > maxKeptAge) && err != nil:
		return nil, head, err // it may be a new key of a provider that does not answer
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

// keyFor returns the key of the token's kid, if it can make that kind of signature, and how
// old the keys are. A token without a kid must leave no choice (OIDC Core §10.1): where several
// keys can make its kind of signature, there is no fitting one.
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
		k.onFetch(err)
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

// warn logs the keys that cannot be used, once for each change of them.
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
		k.logger.WarnContext(ctx, "some of the provider's keys cannot be used", "keys", text)
	}
}

func (k *keySet) report() KeyReport {
	k.mu.Lock()
	defer k.mu.Unlock()
	return KeyReport{Usable: len(k.keys), Unfit: k.unfit}
}
