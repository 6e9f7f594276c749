package keyring

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// derivedSize is the length of the symmetric keys that Keys gives, in bytes.
const derivedSize = 32

// Keys returns the symmetric keys (32 bytes each) of a purpose, derived from the master
// secrets by HKDF-SHA256 (RFC 5869): the current one first, then those still accepted.
// They are derived once per snapshot and purpose, so purposes are few and fixed, never
// from a request. Callers must not change what they get.
func (s *Snapshot) Keys(purpose string) [][]byte {
	if keys, ok := s.derived.Load(purpose); ok {
		return keys.([][]byte)
	}
	keys := make([][]byte, 0, len(s.masters))
	for _, master := range s.masters {
		derived, err := hkdf.Key(sha256.New, master, nil, "tokenbroker\x00"+purpose, derivedSize)
		if err != nil {
			panic("keyring: HKDF of 32 bytes: " + err.Error()) // only for lengths beyond its limit
		}
		keys = append(keys, derived)
	}
	shared, _ := s.derived.LoadOrStore(purpose, keys)
	return shared.([][]byte)
}
