package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	// Key is the path of the key (lifetimes.access_token), or "" for the file as a whole.
	Key string `json:"key"`
	// Message says what is wrong, never with a secret's text.
	Message string `json:"message"`
	// Hint says what to do, if there is something to say.
	Hint string `json:"hint,omitempty"`
	// Source is where the value came from: file and line, variable, flag; "" if nowhere.
	Source string `json:"source,omitempty"`
}

func (p Problem) String() string {
	var text strings.Builder
	if p.Key != "" {
		text.WriteString(p.Key + ": ")
	}
	text.WriteString(p.Message)
	if p.Source != "" {
		text.WriteString(" [" + p.Source + "]")
	}
	if p.Hint != "" {
		text.WriteString("\n    " + p.Hint)
	}
	return text.String()
}

// Problems is everything that is wrong, in the order of the keys; the error of [Load].
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, 0, len(ps)+1)
	lines = append(lines, fmt.Sprintf("the configuration has %d problems:", len(ps)))
	if len(ps) == 1 {
		lines[0] = "the configuration has a problem:"
	}
	for _, p := range ps {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
}

// Sorted are ps in the order of keys, each once; ps itself is reordered.
func (ps Problems) Sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(ps)
}

// didYouMean is the candidate that is nearest to name, if one is near enough for a slip.
func didYouMean(name string, candidates []string) string {
	if len(name) > 100 {
		return ""
	}
	best, bestDistance := "", 4
	for _, c := range candidates {
		d := distance(name, c)
		if len(c) > 2 && strings.HasPrefix(name, c) {
			d = min(d, 3) // warning for warn
		}
		if d < min(bestDistance, len(c), len(name)) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is that of Levenshtein, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
