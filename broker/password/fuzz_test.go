package password_test

import (
	"testing"

	"tokenbroker/broker/password"
)

// FuzzVerify checks that a stored hash of any text does not cause a panic, and that ok is false
// with an error.
func FuzzVerify(f *testing.F) {
	f.Add("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	f.Add("", "$argon2id$v=19$m=8,t=1,p=1$$")
	f.Add("x", "$$$$$")
	h := password.New(weak, 0, 100, 0)
	f.Fuzz(func(t *testing.T, pw, encoded string) {
		if len(encoded) > 100 {
			t.Skip()
		}
		ok, rehash, err := h.Verify(t.Context(), password.Caller{}, pw, encoded)
		if err != nil && ok || rehash && !ok {
			t.Errorf("%v, %v, %v", ok, rehash, err)
		}
	})
}
