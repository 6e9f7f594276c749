package keyring

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Snapshot is the keyring at one revision: immutable, opened, everything prepared that
// can be. Safe for concurrent use.
type Snapshot struct {
	rec         *record // what it was made of; private parts are sealed
	rev         uint64  // of the record, if stored
	stored      bool    // whether rev is known
	access      *accessSigner
	feed        *key
	verifiers   map[string]*key // access keys that tokens may carry
	feedKeys    map[string]*key // published ones
	keys        []KeyInfo
	compromised []string
	jwks        Document
	feedJWKS    Document
	masters     [][]byte // current first
	derived     sync.Map // purpose → [][]byte, filled on first use
}

// newSnapshot opens a checked record.
func newSnapshot(ctx context.Context, cfg *Config, sealer Sealer, rec *record) (*Snapshot, error) {
	s := &Snapshot{rec: rec, verifiers: map[string]*key{}, feedKeys: map[string]*key{}, compromised: slices.Clone(rec.Compromised)}
	slices.Sort(s.compromised)
	published := map[Purpose][]*key{}
	for i := range rec.Keys {
		k, err := rec.Keys[i].open(ctx, sealer)
		if err != nil {
			return nil, fmt.Errorf("opening the %s: %w", rec.Keys[i].info(), err)
		}
		s.keys = append(s.keys, k.info)
		if !k.info.State.published() {
			continue
		}
		published[k.info.Purpose] = append(published[k.info.Purpose], k)
		switch k.info.Purpose {
		case PurposeAccess:
			s.verifiers[k.info.KID] = k
		case PurposeFeed:
			s.feedKeys[k.info.KID] = k
		}
		if k.info.State != StateActive {
			continue
		}
		switch k.info.Purpose {
		case PurposeAccess:
			s.access = newAccessSigner(k)
		case PurposeFeed:
			s.feed = k
		}
	}
	for _, i := range rec.acceptedMasters() {
		m := &rec.Masters[i]
		secret, err := sealer.Open(ctx, m.Sealed, m.aad())
		if err != nil {
			return nil, fmt.Errorf("opening the master secret %s: %w", m.ID, err)
		}
		if len(secret) != masterSize {
			return nil, fmt.Errorf("opening the master secret %s: %w: it has %d bytes", m.ID, ErrCorrupt, len(secret))
		}
		s.masters = append(s.masters, secret)
	}
	var err error
	if s.jwks, err = newDocument(published[PurposeAccess], cfg); err != nil {
		return nil, err
	}
	s.feedJWKS, err = newDocument(published[PurposeFeed], cfg)
	return s, err
}

// SignAccessToken returns claims, a JSON object, as a compact JWS of type at+jwt (RFC 9068
// §2.1) under the active access key. It signs in the caller's goroutine.
func (s *Snapshot) SignAccessToken(ctx context.Context, claims []byte) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return s.access.sign(claims)
}

// SignFeed returns payload's JSON as a compact JWS under the active feed key. The types
// are the ones that package revocation defines; every other one is refused.
func (s *Snapshot) SignFeed(typ string, payload any) ([]byte, error) {
	return signFeed(s.feed, typ, payload)
}

// JWKS is the document of the access keys (RFC 7517).
func (s *Snapshot) JWKS() Document { return s.jwks }

// FeedJWKS is the document of the feed keys, which never stand in JWKS.
func (s *Snapshot) FeedJWKS() Document { return s.feedJWKS }

// Verifier returns what verifies the access tokens under that key id: the key's one
// algorithm and its public half. Unknown, retired and compromised keys are not ok.
func (s *Snapshot) Verifier(kid string) (alg string, public crypto.PublicKey, ok bool) {
	k, ok := s.verifiers[kid]
	if !ok {
		return "", nil, false
	}
	return string(k.info.Algorithm), k.public, true
}

// FeedVerifier returns the public half of the published feed key of that id.
func (s *Snapshot) FeedVerifier(kid string) (ed25519.PublicKey, bool) {
	k, ok := s.feedKeys[kid]
	if !ok {
		return nil, false
	}
	public, ok := k.public.(ed25519.PublicKey)
	return public, ok
}

// Compromised returns the key ids that are dead for ever, sorted; the caller owns the slice.
func (s *Snapshot) Compromised() []string { return slices.Clone(s.compromised) }

// List returns what may be told of the keys that sign; the caller owns the slice.
func (s *Snapshot) List() []KeyInfo { return slices.Clone(s.keys) }

// Document is a JWK set ready to be served. Body must not be changed.
type Document struct {
	Body []byte
	// ETag is a strong one with its quotes (RFC 9110 §8.8.3). It depends on the keys and
	// the store's id alone, so restarts and other brokers of the store have the same.
	ETag string
	// MaxAge is for Cache-Control: how long a service may go on with what it fetched.
	MaxAge time.Duration
}
