package password_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenbroker/broker/password"
)

func TestWeakness(t *testing.T) {
	const short, common, sequence, name = "at least 8 characters", "most common", "sequence", "user's or the product's name"
	for plain, want := range map[string]string{
		"":                             short,
		"a":                            short,
		"1234567":                      short,
		"Xk3$9!q":                      short,
		"äöüßäöü":                      short, // 14 bytes
		"äxüßäöüy":                     "",    // 8 code points
		"日本語日本語日本":                     "",
		"password":                     common,
		"PassWord":                     common,
		"P@ssw0rd":                     common,
		"iloveyou":                     common,
		"qwertyuiop":                   common,
		"Summer2024!":                  common,
		"Welcome1":                     common,
		"correcthorsebatterystaple":    common,
		"correct horse battery staple": "",
		"a long pass phrase":           "",
		"password of grace":            "",
		"lovelace":                     "",
		"xk3$9!qz":                     "",
		"ÜÜÜÜÜÜÜÜÜ":                    sequence,
		"ααααααααα":                    sequence,
		"fghijklmn":                    sequence,
		"HGFEDCBA@":                    "", // @ is below A, not below a
		"zyxwvutsrq":                   sequence,
		"aaaaaaaaaaaaaaaaab":           "",
		"adahopper":                    name,
		"AdaHopper1906!":               name,
		"1906-adahopper":               name,
		"adahopperadahopper":           name,
		"adahopper-tokenbroker":        name,
		"TokenBroker#1":                name,
		"example.com99":                name,
		"adahopper 1906":               "",
		"adahopperx":                   "",
		"83920174":                     "", // digits, and no name
	} {
		got := password.Weakness(plain, "adahopper", "tokenbroker", "Example.com", "7", "39")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", plain, got, want)
		}
	}
}

// TestCommonPasswords checks that the list is in the form in which passwords are looked up.
func TestCommonPasswords(t *testing.T) {
	data, err := os.ReadFile("common.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) < 8000 || !slices.IsSorted(lines) || len(slices.Compact(slices.Clone(lines))) != len(lines) {
		t.Errorf("%d lines; want at least 8000, sorted, each once", len(lines))
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) < password.MinLength || strings.ToLower(line) != line || strings.TrimSpace(line) != line {
			t.Errorf("%q is too short, has capitals or white space around it", line)
		}
		if password.Weakness(strings.ToUpper(line)) == "" {
			t.Errorf("%q is not refused", line)
		}
	}
}
