package lifecycle

import (
	"fmt"
	"iter"
	"slices"
)

// KeySet is all keys and master secrets of a broker, without their key material.
type KeySet struct {
	Keys    []Key // that sign, the oldest first
	Masters []Key // master secrets, the newest first
	History
}

// History is what a key set remembers beyond its keys. The JSON form is that of the stored record.
type History struct {
	// Compromised are the ids of compromised keys. They stay after the keys are forgotten.
	Compromised []string `json:"compromised"`
	// Configured is the configured algorithm that was last applied, so that a manual rotation to
	// another algorithm is not undone at the next start.
	Configured Algorithm `json:"configured,omitempty"`
	// CacheLife is the longest time, in seconds, for which a service may still use a JWK set that
	// was served earlier.
	CacheLife int64 `json:"cache_life,omitempty"`
	// TokenLife is the published life of access tokens.
	TokenLife TokenLife `json:"token_life,omitzero"`
}

// TokenLife is the life of access tokens in seconds. Signed is the longest life that may be
// signed. It follows Published when every service has read that.
type TokenLife struct {
	Published int64 `json:"published"`
	Signed    int64 `json:"signed"`
}

// All returns the keys, then the master secrets. The pointers are into the set.
func (s *KeySet) All() iter.Seq[*Key] {
	return func(yield func(*Key) bool) {
		for _, keys := range [][]Key{s.Keys, s.Masters} {
			for i := range keys {
				if !yield(&keys[i]) {
					return
				}
			}
		}
	}
}

// Find returns the first key of the purpose in that state, nil if there is none. The pointer is
// into the set. A checked set has exactly one active key of each purpose.
func (s *KeySet) Find(purpose Purpose, state State) *Key {
	for k := range s.All() {
		if k.Purpose == purpose && k.State == state {
			return k
		}
	}
	return nil
}

// KIDs returns all ids of signing keys that the set knows, including those of forgotten ones
// that were compromised. The caller owns the slice.
func (s *KeySet) KIDs() []string {
	kids := slices.Clone(s.Compromised)
	for i := range s.Keys {
		kids = append(kids, s.Keys[i].KID)
	}
	return kids
}

// clone copies everything that a plan may change.
func (s *KeySet) clone() *KeySet {
	c := *s
	c.Keys, c.Masters, c.Compromised = slices.Clone(s.Keys), slices.Clone(s.Masters), slices.Clone(s.Compromised)
	return &c
}

// Check returns an error if the set breaks a rule that every set obeys. An unknown algorithm is
// reported as [ErrUnknownAlgorithm].
func (s *KeySet) Check() error {
	type place struct {
		purpose Purpose
		state   State
	}
	count, compromised, seen := map[place]int{}, map[string]bool{}, map[string]bool{}
	for _, kid := range s.Compromised {
		compromised[kid] = true
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		if err := k.Algorithm.Check(); err != nil {
			return fmt.Errorf("keyring: key %q: %w", k.KID, err)
		}
		switch {
		case !slices.Contains(signingPurposes, k.Purpose):
			return fmt.Errorf("key %q has the unknown purpose %q", k.KID, k.Purpose)
		case k.Purpose == PurposeFeed && k.Algorithm != EdDSA:
			return fmt.Errorf("feed key %q has the algorithm %s, not EdDSA", k.KID, k.Algorithm)
		case !k.State.Published() && k.State != StateRetired && k.State != StateCompromised:
			return fmt.Errorf("key %q has the unknown state %q", k.KID, k.State)
		case seen[k.KID]:
			return fmt.Errorf("key %q is in it twice", k.KID)
		case compromised[k.KID] != (k.State == StateCompromised):
			return fmt.Errorf("key %q is %s, which contradicts the list of compromised keys", k.KID, k.State)
		}
		seen[k.KID] = true
		count[place{k.Purpose, k.State}]++
	}
	for _, purpose := range signingPurposes {
		for _, state := range []State{StateActive, StateNext} {
			if n := count[place{purpose, state}]; n != 1 {
				return fmt.Errorf("%d %s keys are %s, not one", n, purpose, state)
			}
		}
	}
	return s.checkMasters()
}

func (s *KeySet) checkMasters() error {
	count, seen := map[State]int{}, map[string]bool{}
	for i := range s.Masters {
		m := &s.Masters[i]
		switch {
		case !m.State.Published():
			return fmt.Errorf("master secret %q has the unknown state %q", m.KID, m.State)
		case seen[m.KID]:
			return fmt.Errorf("master secret %q is in it twice", m.KID)
		}
		seen[m.KID] = true
		count[m.State]++
	}
	if count[StateActive] != 1 || count[StateNext] > 1 {
		return fmt.Errorf("%d master secrets are active and %d are next", count[StateActive], count[StateNext])
	}
	return nil
}
