// Package peers measures package validator and the libraries that a Go service would use
// instead of it, in one run: the same tokens, the same checks. It is a separate module, so
// that no other module depends on the peers. README.md describes how to run it.
package peers
