package revocation_test

import (
	"encoding/base32"
	"encoding/hex"
	"math/rand/v2"
	"regexp"
	"testing"

	"tokenbroker/revocation"
)

// plainID parses a jti or sid with the standard library. A value in another than the canonical form has
// none.
func plainID(kind revocation.Kind, value string) (id string, ok bool) {
	if kind == revocation.KindSID {
		encoding := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
		data, err := encoding.DecodeString(value)
		return string(data), err == nil && len(data) == 16 && encoding.EncodeToString(data) == value
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`).MatchString(value) {
		return "", false
	}
	data, err := hex.DecodeString(value[:8] + value[9:13] + value[14:18] + value[19:23] + value[24:])
	return string(data), err == nil
}

// checkID checks that the value's binary form has its 16 bytes, if it has such, and otherwise its text.
// That form and the denylist parse ids with the same code.
func checkID(t *testing.T, kind revocation.Kind, value string) {
	t.Helper()
	if value == "" {
		return
	}
	data, err := revocation.AppendEvent(nil, revocation.Event{Kind: kind, Value: value, Reason: revocation.ReasonLogoff})
	if err != nil {
		return // not UTF-8
	}
	const packed = 0x08
	id, ok := plainID(kind, value)
	if got := data[0]&packed != 0; got != ok || ok && string(data[2:18]) != id {
		t.Errorf("%s %q: 16 bytes %v, want %v; %x, want %x", kind, value, got, ok, data[2:], id)
	}
	got, err := revocation.DecodeEvent(data)
	if err != nil || got.Value != value {
		t.Errorf("%s %q comes back as %q, %v", kind, value, got.Value, err)
	}
}

// TestEachCharacterOfAnID puts every byte in every position.
func TestEachCharacterOfAnID(t *testing.T) {
	for kind, value := range map[revocation.Kind]string{revocation.KindSID: aSID, revocation.KindJTI: aJTI} {
		for at := range value {
			for c := range 256 {
				checkID(t, kind, value[:at]+string([]byte{byte(c)})+value[at+1:])
			}
		}
		for n := range len(value) {
			checkID(t, kind, value[:n])
			checkID(t, kind, value+value[:n+1])
		}
	}
}

func FuzzID(f *testing.F) {
	f.Add(aSID, false)
	f.Add(aJTI, true)
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		var data [16]byte
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(data[:]), false)
		h := hex.EncodeToString(data[:])
		f.Add(h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:], true)
	}
	f.Fuzz(func(t *testing.T, value string, jti bool) {
		kind := revocation.KindSID
		if jti {
			kind = revocation.KindJTI
		}
		checkID(t, kind, value)
	})
}
