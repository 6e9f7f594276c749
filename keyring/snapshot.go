package keyring

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"

	"tokenbroker/keyring/lifecycle"
)

// snapshot is the keyring at one revision: opened, with everything prepared that can be. It is
// immutable and safe for concurrent use.
type snapshot struct {
	rec         *record         // private parts are sealed
	rev         uint64          // of the record, if stored
	stored      bool            // whether rev is known
	access      *key            // signs access tokens
	header      string          // of access tokens
	feed        *key            // signs revocation messages
	verifiers   map[string]*key // access keys that tokens may carry
	feedKeys    map[string]*key // published feed keys
	compromised []string
	jwks        Document
	feedJWKS    Document
	masters     [][]byte // the active one first
	derived     sync.Map // purpose → [][]byte, filled on first use
}

// newSnapshot opens a checked record.
func newSnapshot(ctx context.Context, cfg *Config, sealer Sealer, rec *record) (*snapshot, error) {
	s := &snapshot{rec: rec, verifiers: map[string]*key{}, feedKeys: map[string]*key{}, compromised: slices.Sorted(slices.Values(rec.Compromised))}
	var access, feed []*key
	for i := range rec.Keys {
		k, err := openKey(ctx, sealer, &rec.Keys[i], rec.material[rec.Keys[i].KID])
		if err != nil {
			return nil, fmt.Errorf("opening the %s: %w", rec.Keys[i], err)
		}
		if !k.State.Published() {
			continue
		}
		switch active := k.State == lifecycle.StateActive; k.Purpose {
		case lifecycle.PurposeAccess:
			access = append(access, k)
			s.verifiers[k.KID] = k
			if active {
				s.access, s.header = k, k.header(accessType)
			}
		case lifecycle.PurposeFeed:
			feed = append(feed, k)
			s.feedKeys[k.KID] = k
			if active {
				s.feed = k
			}
		}
	}
	if err := s.openMasters(ctx, sealer); err != nil {
		return nil, err
	}
	var err error
	if s.jwks, err = newDocument(access, cfg); err != nil {
		return nil, err
	}
	s.feedJWKS, err = newDocument(feed, cfg)
	return s, err
}

// openMasters unseals the master secrets. The active one, which makes tokens, comes first.
func (s *snapshot) openMasters(ctx context.Context, sealer Sealer) error {
	for i := range s.rec.Masters {
		m := &s.rec.Masters[i]
		secret, err := sealer.Open(ctx, s.rec.material[m.KID].sealed, sealedWith(m))
		if err != nil {
			return fmt.Errorf("opening the master secret %s: %w", m.KID, err)
		}
		if len(secret) != masterSize {
			return fmt.Errorf("opening the master secret %s: %w: it has %d bytes", m.KID, ErrCorrupt, len(secret))
		}
		if m.State == lifecycle.StateActive {
			s.masters = slices.Insert(s.masters, 0, secret)
		} else {
			s.masters = append(s.masters, secret)
		}
	}
	return nil
}

// Verifier returns what verifies the access tokens under that key id: the key's algorithm and
// its public half. Unknown, retired and compromised keys are not ok.
func (k *Keyring) Verifier(kid string) (alg string, public crypto.PublicKey, ok bool) {
	found, ok := k.current.Load().verifiers[kid]
	if !ok {
		return "", nil, false
	}
	return string(found.Algorithm), found.public, true
}

// FeedVerifier returns the public half of the published feed key with that id.
func (k *Keyring) FeedVerifier(kid string) (ed25519.PublicKey, bool) {
	found, ok := k.current.Load().feedKeys[kid]
	if !ok {
		return nil, false
	}
	public, ok := found.public.(ed25519.PublicKey)
	return public, ok
}

// Compromised returns the ids of all compromised keys, sorted. The caller owns the slice.
func (k *Keyring) Compromised() []string { return slices.Clone(k.current.Load().compromised) }

// List describes all keys and master secrets, with their next steps. The caller owns the slice.
func (k *Keyring) List() []lifecycle.KeyInfo { return k.plan(k.current.Load(), nil).List() }
