// Package setting has the type of what is wrong with a key of the configuration. The package that
// owns a setting returns it, package config adds where the value came from.
package setting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	// Key is the path of the key, such as lifetimes.access_token. It is empty for the file as a whole.
	Key string `json:"key"`
	// Message says what is wrong. It never has the text of a secret.
	Message string `json:"message"`
	// Hint says what to do. It may be empty.
	Hint string `json:"hint,omitempty"`
	// Source is where the value came from: file and line, variable or flag. It is empty if the value
	// came from nowhere, and in the problems of a setting's owner.
	Source string `json:"source,omitempty"`
}

// String returns the problem as an operator reads it, on one line, with the hint on a second one.
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

// Problems is everything that is wrong, as an error.
type Problems []Problem

// Add appends a problem without a source.
func (ps *Problems) Add(key, message, hint string) {
	*ps = append(*ps, Problem{Key: key, Message: message, Hint: hint})
}

// Err returns ps as an error, or nil if there are no problems.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Error lists the problems, one a line, with their hints.
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

// Sorted returns ps in the order of the keys, each problem once. It reorders ps itself.
func (ps Problems) Sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(ps)
}
