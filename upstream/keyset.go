package upstream

import (
	"context"
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

// keySet is a provider's keys: fetched when an unknown kid comes or they are older than
// maxKeyAge (so that a withdrawn key goes), at most once in refetchEvery, by one request at
// a time. The last good keys stay when a fetch fails.
type keySet struct {
	url     string
	client  *http.Client
	now     func() time.Time
	logger  *slog.Logger
	fetches atomic.Int64

	flight singleflight.Group

	mu      sync.Mutex
	keys    map[string]jose.JSONWebKey // mu guards these four
	fetched time.Time
	tried   time.Time
	failed  error // the last attempt's
}

// verify returns the payload of a good signature and the protected typ, nil if there is none.
func (k *keySet) verify(ctx context.Context, token string) (payload []byte, typ any, err error) {
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, nil, errSignature
	}
	kid := jws.Signatures[0].Protected.KeyID
	key, old, ok := k.key(kid)
	if !ok || old {
		err := k.refetch(ctx)
		if key, _, ok = k.key(kid); !ok && err != nil {
			return nil, nil, err // it may be a new key of a provider that does not answer
		}
		if !ok {
			return nil, nil, errUnknownKey
		}
	}
	if key.Algorithm != "" && key.Algorithm != jws.Signatures[0].Protected.Algorithm {
		return nil, nil, errSignature
	}
	payload, err = jws.Verify(key.Key)
	if err != nil {
		return nil, nil, errSignature
	}
	return payload, jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType], nil
}

// key returns the key of that kid, and whether it is time to look for withdrawn ones.
func (k *keySet) key(kid string) (key jose.JSONWebKey, old, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok = k.keys[kid]
	return key, k.now().Sub(k.fetched) > maxKeyAge, ok
}

// refetch fetches the keys unless that was tried within refetchEvery; the error is that of
// the last attempt. The fetch serves all who wait: one that gives up does not end it.
func (k *keySet) refetch(ctx context.Context) error {
	answer := k.flight.DoChan("keys", func() (any, error) {
		k.mu.Lock()
		if !k.tried.IsZero() && k.now().Sub(k.tried) < refetchEvery {
			defer k.mu.Unlock()
			return nil, k.failed
		}
		k.tried = k.now()
		k.mu.Unlock()
		keys, err := k.fetch(context.WithoutCancel(ctx))
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

func (k *keySet) fetch(ctx context.Context) (map[string]jose.JSONWebKey, error) {
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
	keys := map[string]jose.JSONWebKey{}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys[key.KeyID] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("fetching keys: the set has no usable key")
	}
	return keys, nil
}
