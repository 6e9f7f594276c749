package simtest_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// keyring is the keys that the issuer of one store signs with and publishes. It outlives processes.
type keyring struct {
	w           *world
	tokens      []string // published; the last one signs
	tokenETag   string
	feed        []*feedKey // published; any may sign
	signing     *feedKey
	compromised []string
}

type feedKey struct {
	kid     string
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil when this run does without signatures
}

func newKeyring(w *world) *keyring {
	k := &keyring{w: w}
	k.newTokenKey()
	k.signing = k.newFeedKey()
	return k
}

func (k *keyring) newTokenKey() {
	k.tokens = append(k.tokens, k.w.mail.name("token key"))
	k.tokenETag = k.w.mail.name("tag")
}

func (k *keyring) newFeedKey() *feedKey {
	key := k.w.mail.newFeedKey(k.w.mail.name("feed key"))
	k.feed = append(k.feed, key)
	return key
}

// rotate replaces the signing token key or feed key. The old one remains published for d.
func (k *keyring) rotate(d time.Duration) {
	w := k.w
	if w.chance(0.5) {
		k.newTokenKey()
		w.after(d, k.retireTokenKey)
		return
	}
	next, last := k.newFeedKey(), k.signing
	w.after(w.between(0, 3*time.Second), func() {
		if k.signing == last {
			k.signing = next
			w.after(d, func() { k.withdraw(last) })
		}
	})
}

func (k *keyring) retireTokenKey() {
	k.tokens = k.tokens[1:]
	k.tokenETag = k.w.mail.name("tag")
}

func (k *keyring) withdraw(old *feedKey) {
	if k.signing == old {
		return
	}
	k.feed = slices.DeleteFunc(k.feed, func(f *feedKey) bool { return f == old })
}

// compromiseTokenKey compromises the signing key or another published key.
func (k *keyring) compromiseTokenKey() string {
	k.newTokenKey()
	i := k.w.rng.IntN(len(k.tokens) - 1)
	kid := k.tokens[i]
	k.tokens = slices.Delete(k.tokens, i, i+1)
	k.compromised = append(k.compromised, kid)
	return kid
}

func (k *keyring) compromiseFeedKey() string {
	old := k.signing
	k.signing = k.newFeedKey()
	k.withdraw(old)
	k.compromised = append(k.compromised, old.kid)
	k.w.mail.leaked = append(k.w.mail.leaked, old)
	return old.kid
}

// all are the ids of all keys so far, for a restore.
func (k *keyring) all() []string {
	kids := append(slices.Clone(k.compromised), k.tokens...)
	for _, f := range k.feed {
		kids = append(kids, f.kid)
	}
	return kids
}

// tokenSet and feedSet are the two documents.
type tokenSet struct {
	store, etag string
	kids        []string
}

type feedSet struct {
	store string
	keys  map[string]ed25519.PublicKey
}

func (k *keyring) tokenSet(store string) tokenSet {
	return tokenSet{store: store, etag: k.tokenETag, kids: slices.Clone(k.tokens)}
}

func (k *keyring) feedSet(store string) feedSet {
	s := feedSet{store: store, keys: make(map[string]ed25519.PublicKey, len(k.feed))}
	for _, f := range k.feed {
		s.keys[f.kid] = f.public
	}
	return s
}

func (m *mail) newFeedKey(kid string) *feedKey {
	if !m.signed {
		return &feedKey{kid: kid, public: ed25519.PublicKey(kid)}
	}
	seed := make([]byte, ed25519.SeedSize)
	m.named++
	binary.BigEndian.PutUint64(seed, uint64(m.named))
	private := ed25519.NewKeyFromSeed(seed)
	return &feedKey{kid: kid, private: private, public: private.Public().(ed25519.PublicKey)}
}

// name returns a name that no other key or document has.
func (m *mail) name(what string) string {
	m.named++
	return fmt.Sprintf("%s %d", what, m.named)
}
