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

// Weakness returns the rule for new passwords that plain breaks, as the end of a sentence that starts
// with "the password", or "" if it breaks none. It checks the NFC of plain, which is what is hashed.
// words are those that an attacker expects in this user's password, such as the user's name.
//
// The rules are those of NIST SP 800-63B, revision 4, section 3.1.1.2: a minimum length (its 8
// for a password that is used with a second factor; 15 are required of one without), no limit
// on the kinds of characters, and a list of common and expected passwords that the whole
// password is compared with, in any case. They apply to setting a password, not to verifying one:
// stored hashes of weaker passwords stay valid.
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

// isSequence reports whether each character follows the one before it by the same step, as in
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

// isOnly reports whether plain consists of at least one of words, and of characters that are
// neither letters nor spaces. Words of less than three code points are ignored: otherwise any digits
// and signs with such a word would be refused.
func isOnly(plain string, words []string) bool {
	rest := plain
	for _, word := range words {
		if utf8.RuneCountInString(word) >= 3 {
			rest = strings.ReplaceAll(rest, strings.ToLower(norm.NFC.String(word)), "")
		}
	}
	return rest != plain && !strings.ContainsFunc(rest, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsSpace(r) })
}
