// Package peers measures validator beside the libraries that a Go service would use
// otherwise, in one run: the same tokens, the same checks. It is a module of its own, so
// that the peers are in nobody's dependencies. README.md says how to run it.
package peers
