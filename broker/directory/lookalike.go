package directory

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// lookalikes are Latin letters for the letters of Cyrillic and Greek that look like them in small or capital letters, for digits, and for
// Latin letters that look like others. It has the common ones of Unicode's table of confusables (UTS 39 §4), by pairs.
var lookalikes = pairs("аaвbгrеeѕsіiјjкkмmнhоoпnрpсcтtуyхxһhԁdԛqԝwӏlґr" + "αaβbγyεeζzηnιiκkμmνvοoρpτtυuχxωw" + "0o1l5s" + "ıiɑaɡgil")

func pairs(text string) map[rune]rune {
	table := map[rune]rune{}
	runes := []rune(text)
	for i := 0; i+1 < len(runes); i += 2 {
		table[runes[i]] = runes[i+1]
	}
	return table
}

// Lookalike returns the same text for names that people may confuse at a glance: those that are equal under [FoldName] without the
// accents of letters, white space and the common punctuation, if letters that look the same count as one. It is only for comparing.
func Lookalike(name string) string {
	similar := strings.Map(func(r rune) rune {
		if r >= '\u0300' && r <= '\u036f' || unicode.In(r, unicode.Z, unicode.Pd) || strings.ContainsRune("._,:;!'’`´\"·\u2800", r) {
			return -1
		}
		for range 2 { // the letter for a letter of another alphabet may itself look like another
			if latin, ok := lookalikes[r]; ok {
				r = latin
			}
		}
		return r
	}, norm.NFD.String(FoldName(name)))
	return strings.NewReplacer("rn", "m", "vv", "w").Replace(similar)
}

// Confusable reports whether a name mixes letters of Latin, Cyrillic and Greek, of which many look the same. Such a name may imitate any
// other, also one that the broker does not know.
func Confusable(name string) bool {
	folded, scripts := FoldName(name), 0
	for _, script := range []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek} {
		if strings.ContainsFunc(folded, func(r rune) bool { return unicode.Is(script, r) }) {
			scripts++
		}
	}
	return scripts > 1
}
