package password_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"tokenbroker/broker/password"
)

const composed = "Füße über café"

var decomposed = norm.NFD.String(composed)

// RFC 8265 §4.2.2, NIST SP 800-63B §3.1.1.2: text from another keyboard is the same password.
// A second computation is made only where the form of the text may be why the first failed, and the
// number of computations does not reveal whether the user exists.
func TestPasswordsAreComparedInNFC(t *testing.T) {
	h := password.New(weak, 1, 0, 0)
	hash := func(plain string) string {
		encoded, err := h.Hash(t.Context(), plain)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	for name, c := range map[string]struct {
		encoded, plain string
		ok, rehash     bool
		computations   int
	}{
		"composed, set composed":                        {hash(composed), composed, true, false, 1},
		"composed, set decomposed":                      {hash(decomposed), composed, true, false, 1},
		"decomposed, set composed":                      {hash(composed), decomposed, true, false, 1},
		"decomposed, set decomposed":                    {hash(decomposed), decomposed, true, false, 1},
		"composed, set so before":                       {h.HashAsGiven(composed), composed, true, false, 1},
		"decomposed, set composed before":               {h.HashAsGiven(composed), decomposed, true, false, 1},
		"decomposed, set so before":                     {h.HashAsGiven(decomposed), decomposed, true, true, 2},
		"composed, set decomposed before":               {h.HashAsGiven(decomposed), composed, false, false, 1},
		"wrong and composed":                            {hash(composed), composed + "!", false, false, 1},
		"wrong and decomposed":                          {hash(composed), decomposed + "!", false, false, 2},
		"wrong and ASCII":                               {hash(composed), "Fusse uber cafe", false, false, 1},
		"another case":                                  {hash(composed), strings.ToUpper(composed), false, false, 1},
		"compatible, but not the same":                  {hash("file 2"), "ﬁle ２", false, false, 1},
		"a space of another width is another character": {hash("a b c d e"), "a\u00a0b c d e", false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			counted, n := password.New(weak, 1, 0, 0), 0
			counted.Count(&n)
			ok, rehash, err := counted.Verify(t.Context(), password.Caller{}, c.plain, c.encoded)
			if ok != c.ok || rehash != c.rehash || err != nil {
				t.Errorf("Verify = %v, %v, %v; want %v, %v", ok, rehash, err, c.ok, c.rehash)
			}
			if n != c.computations {
				t.Errorf("%d computations, want %d", n, c.computations)
			}
			if n = 0; !c.ok {
				if err := counted.VerifyUnknown(t.Context(), password.Caller{}, c.plain); err != nil || n != c.computations {
					t.Errorf("an unknown user takes %d computations, want %d (%v)", n, c.computations, err)
				}
			}
		})
	}
}

// Composition can make a text longer and shorter: the limit holds for both, before anything is hashed.
func TestLengthLimitsHoldInBothForms(t *testing.T) {
	growing := strings.Repeat("\u0958", 200) // 600 bytes, 1200 in NFC: composition exclusions
	shrinking := norm.NFD.String(strings.Repeat("é", 400))
	h, n := password.New(weak, 1, 0, 0), 0
	before := h.HashAsGiven(growing)
	h.Count(&n)
	for _, plain := range []string{growing, shrinking} {
		if _, err := h.Hash(t.Context(), plain); !errors.Is(err, password.ErrLength) || n != 0 {
			t.Errorf("%d bytes: %v after %d computations, want ErrLength", len(plain), err, n)
		}
	}
	if ok, rehash, err := h.Verify(t.Context(), password.Caller{}, growing, before); !ok || rehash || err != nil || n != 1 {
		t.Errorf("one that was set before: %v, %v, %v after %d computations; want true", ok, rehash, err, n)
	}
	n = 0
	if ok, _, err := h.Verify(t.Context(), password.Caller{}, shrinking, before); ok || err != nil || n != 0 {
		t.Errorf("%d bytes: %v, %v after %d computations; want a wrong password without any", len(shrinking), ok, err, n)
	}
}

func TestWeaknessChecksNFC(t *testing.T) {
	for _, plain := range []string{"éàüñô12", "josé2024", "aaaaaaaa"} {
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			if password.Weakness(form.String(plain), norm.NFD.String("José")) == "" {
				t.Errorf("%+q is not weak", form.String(plain))
			}
		}
	}
	if rule := password.Weakness(decomposed, "josé"); rule != "" {
		t.Errorf("a strong password %s", rule)
	}
}
