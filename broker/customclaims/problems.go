package customclaims

import "strings"

// Problem is one thing that is wrong with the configuration: where, what, and what to do.
type Problem struct {
	// Key is the key path: claims.attributes, claims.computed.<name> or user_object.
	Key     string
	Message string
	// Hint may be empty.
	Hint string
}

// Problems is the error of [New] and [Set.Try]: everything at once, in the order of the
// configuration, computed claims by name.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, 0, len(p))
	for _, one := range p {
		lines = append(lines, one.Key+": "+one.Message)
	}
	return strings.Join(lines, "; ")
}

// orNil is the list as an error, nil when it is empty.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p
}
