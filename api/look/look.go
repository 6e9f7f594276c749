// Package look is how the broker's pages look: their layout and style, and the name, colours, logo and texts that an
// operator replaced.
package look

// Look is the look of all pages. It is immutable.
type Look struct{}

// Default returns the look without replacements.
func Default() *Look { return &Look{} }

// Load returns the look with the replacements of a directory. If dir is empty, it is [Default].
func Load(dir string) (*Look, error) { return Default(), nil }
