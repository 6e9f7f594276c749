package password

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MinLength is the shortest password that people may choose, in code points.
const MinLength = 8

// common are lower-case passwords of at least MinLength code points, one a line.
//
//go:embed common.txt
var common string

var commonSet = sync.OnceValue(func() map[string]struct{} {
	set := make(map[string]struct{}, strings.Count(common, "\n"))
	for word := range strings.Lines(common) {
		set[strings.TrimSuffix(word, "\n")] = struct{}{}
	}
	return set
})

// Weakness says which rule for a new password plain breaks, to follow "the password", or
// returns "" if it breaks none. It looks at plain in NFC, which is what is hashed. Words are those that an attacker expects of this user, such
// as the user's name.
//
// The rules are those of NIST SP 800-63B, revision 4, section 3.1.1.2: a minimum length (its 8
// for a password that is used with a second factor; 15 are required of one without), no limit
// on the kinds of characters, and a list of common and expected passwords that the whole
// password is compared with, in any case. They are for setting a password, not for checking
// one: stored hashes of weaker passwords stay valid.
func Weakness(plain string, words ...string) string {
	plain = norm.NFC.String(plain)
	lower := strings.ToLower(plain)
	_, listed := commonSet()[lower]
	switch {
	case utf8.RuneCountInString(plain) < MinLength:
		return "must have at least 8 characters"
	case listed:
		return "must not be one of the most common passwords"
	case isSequence(lower):
		return "must not be one character repeated or a simple sequence of characters"
	case isOnly(lower, words):
		return "must not consist of the user's or the product's name, with or without digits and signs"
	}
	return ""
}

// isSequence tells whether each character follows the one before it by the same step, as in
// aaaa, 6789 and dcba.
func isSequence(plain string) bool {
	runes := []rune(plain)
	step := runes[1] - runes[0]
	if step < -1 || step > 1 {
		return false
	}
	for i := 2; i < len(runes); i++ {
		if runes[i]-runes[i-1] != step {
			return false
		}
	}
	return true
}

// isOnly tells whether plain has nothing but words, at least one of them, and what is neither
// letter nor space. Words of less than three code points are not looked for: digits and signs
// that contain one would be refused.
func isOnly(plain string, words []string) bool {
	rest := plain
	for _, word := range words {
		if utf8.RuneCountInString(word) >= 3 {
			rest = strings.ReplaceAll(rest, strings.ToLower(norm.NFC.String(word)), "")
		}
	}
	return rest != plain && !strings.ContainsFunc(rest, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsSpace(r) })
}
