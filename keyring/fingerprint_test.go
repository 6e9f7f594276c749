package keyring_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"testing"

	"tokenbroker/keyring"
)

func TestFingerprintNamesAKEK(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		kek := make(keyring.KEK, keyring.KEKSize)
		_, _ = rand.Read(kek)
		name := keyring.Fingerprint(kek)
		if seen[name] || len(name) != 26 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			t.Fatalf("the fingerprint is %q", name)
		}
		seen[name] = true
		if keyring.Fingerprint(bytes.Clone(kek)) != name {
			t.Fatal("equal KEKs have different fingerprints")
		}
		kek[31] ^= 1
		if keyring.Fingerprint(kek) == name {
			t.Fatal("different KEKs have the same fingerprint")
		}
	}
}

// Brokers of different versions compare fingerprints, so that the value must not change.
func TestFingerprintIsStable(t *testing.T) {
	if got, want := keyring.Fingerprint(kek(1)), "j33nrj4guhzvm2klqehse635gi"; got != want {
		t.Errorf("Fingerprint = %q, want %q", got, want)
	}
}

func TestFingerprintDoesNotContainTheKey(t *testing.T) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(keyring.Fingerprint(kek(7))))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte{7, 7, 7}) {
		t.Error("the fingerprint contains bytes of the key")
	}
	// Sealed values and backups have another id of the KEK, which does not lead to its fingerprint.
	if id := sealer(t, 7).ID(); strings.Contains(hex.EncodeToString(raw), id) {
		t.Error("the fingerprint contains the id of sealed values")
	}
}
