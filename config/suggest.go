package config

import "strings"

// didYouMean returns the candidate that is most similar to name, or "" if none is similar enough.
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

// distance returns the Levenshtein distance in bytes.
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
