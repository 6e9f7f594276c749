package validator

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// unknownKeyEvery is how often an unknown key id may cause a fetch.
const unknownKeyEvery = 10 * time.Second

// keySet is an immutable set of token keys from one document.
type keySet struct {
	keys        map[string]verificationKey
	loaded      bool // false before the first document and after the store changed
	etag        string
	store       string
	maxLifetime time.Duration
}

// tokenKeys are the token keys that are currently known. Readers take a snapshot; the syncer's
// owner goroutine replaces it.
type tokenKeys struct {
	set    atomic.Pointer[keySet]
	wanted chan struct{} // wakes the owner when a caller waits

	mu sync.Mutex
	// mu guards everything below.
	waiting chan struct{} // closed at the end of the fetch that callers wait for
	asked   bool
	askedAt time.Duration
	failed  bool // the last fetch
}

func newTokenKeys() *tokenKeys {
	t := &tokenKeys{wanted: make(chan struct{}, 1)}
	t.set.Store(&keySet{})
	return t
}

// key returns the key of a kid. For an unknown kid, all callers wait for one shared fetch; there
// is at most one such fetch in 10 s.
func (t *tokenKeys) key(ctx context.Context, stopped <-chan struct{}, kid string) (verificationKey, error) {
	set := t.set.Load()
	if key, ok := set.keys[kid]; ok {
		return key, nil
	}
	if !set.loaded {
		return verificationKey{}, errKeysUnavailable
	}
	waiting, err := t.requestFetch()
	if err != nil {
		return verificationKey{}, err
	}
	select {
	case <-waiting:
	case <-ctx.Done():
		return verificationKey{}, ctx.Err()
	case <-stopped:
		return verificationKey{}, errKeysUnavailable
	}
	set = t.set.Load()
	if key, ok := set.keys[kid]; ok {
		return key, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed || !set.loaded {
		return verificationKey{}, errKeysUnavailable
	}
	return verificationKey{}, errUnknownKey
}

// requestFetch joins or starts the fetch for an unknown key id.
func (t *tokenKeys) requestFetch() (<-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting != nil {
		return t.waiting, nil
	}
	now := monotonic()
	if t.asked && now-t.askedAt < unknownKeyEvery {
		if t.failed {
			return nil, errKeysUnavailable
		}
		return nil, errUnknownKey
	}
	t.asked, t.askedAt = true, now
	t.waiting = make(chan struct{})
	select {
	case t.wanted <- struct{}{}:
	default:
	}
	return t.waiting, nil
}

// fetchDone releases the callers that wait for the fetch that ended.
func (t *tokenKeys) fetchDone(failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = failed
	if t.waiting != nil {
		close(t.waiting)
		t.waiting = nil
	}
}

func (t *tokenKeys) loaded() bool               { return t.set.Load().loaded }
func (t *tokenKeys) maxLifetime() time.Duration { return t.set.Load().maxLifetime }

// drop removes the keys of another store. No key is known until the next document.
func (t *tokenKeys) drop() { t.set.Store(&keySet{maxLifetime: t.maxLifetime()}) }

// replace stores the keys of a new document, without the compromised ones. It reports whether that changed
// anything.
func (t *tokenKeys) replace(set *keySet, revoked func(kid string) bool) bool {
	maps.DeleteFunc(set.keys, func(kid string, _ verificationKey) bool { return revoked(kid) })
	old := t.set.Swap(set)
	return !old.loaded || old.maxLifetime != set.maxLifetime ||
		!maps.EqualFunc(old.keys, set.keys, func(a, b verificationKey) bool { return sameKey(a, b) })
}

// dropRevoked removes compromised keys and reports whether there were any.
func (t *tokenKeys) dropRevoked(revoked func(kid string) bool) bool {
	old := t.set.Load()
	hit := false
	for kid := range old.keys {
		hit = hit || revoked(kid)
	}
	if !hit {
		return false
	}
	set := *old
	set.etag = ""
	set.keys = maps.Clone(old.keys)
	maps.DeleteFunc(set.keys, func(kid string, _ verificationKey) bool { return revoked(kid) })
	t.set.Store(&set)
	return true
}

// feedKeys verify the messages of the feed. Only the syncer's owner uses them.
type feedKeys struct {
	set   map[string]ed25519.PublicKey
	etag  string
	store string
	// tainted is set if a compromised key was removed since the last document.
	tainted bool
}

func (f *feedKeys) dropRevoked(revoked func(kid string) bool) {
	before := len(f.set)
	maps.DeleteFunc(f.set, func(kid string, _ ed25519.PublicKey) bool { return revoked(kid) })
	if len(f.set) != before {
		f.tainted, f.etag = true, ""
	}
}

// replace stores the keys of a new document, without the compromised ones. removed reports whether a key
// was compromised or is no longer in the document.
func (f *feedKeys) replace(set map[string]ed25519.PublicKey, revoked func(kid string) bool) (changed, removed bool) {
	maps.DeleteFunc(set, func(kid string, _ ed25519.PublicKey) bool { return revoked(kid) })
	removed = f.tainted
	for kid, key := range f.set {
		removed = removed || !key.Equal(set[kid])
	}
	changed = removed || len(f.set) != len(set)
	f.set, f.tainted = set, false
	return changed, removed
}

// sameKey reports whether two look-ups of a kid returned the same key. As long as none was
// fetched since, they returned the same pointer, and there is nothing to compare.
func sameKey(a, b verificationKey) bool {
	if a.alg != b.alg {
		return false
	}
	switch x := a.public.(type) {
	case *ecdsa.PublicKey:
		if y, ok := b.public.(*ecdsa.PublicKey); ok && x == y {
			return true
		}
	case *rsa.PublicKey:
		if y, ok := b.public.(*rsa.PublicKey); ok && x == y {
			return true
		}
	}
	equal, ok := a.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && equal.Equal(b.public)
}

var (
	// errUnknownKey means that the issuer does not publish the key, or that it was compromised.
	errUnknownKey = errors.New("unknown key id")
	// errKeysUnavailable means that the key id is unknown and that the issuer's keys could not
	// be fetched to make sure. An answer of 401 would be a guess: treat it as stale (503).
	errKeysUnavailable = errors.New("unknown key id, and the issuer's keys cannot be fetched")
)

// verificationKey is a public token key and its only algorithm.
type verificationKey struct {
	kid    string
	alg    jose.SignatureAlgorithm
	public crypto.PublicKey
}
