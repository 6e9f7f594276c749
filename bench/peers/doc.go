// Package peers compares package validator with the libraries that a Go service could use instead,
// for the same tokens and checks in the same run. It is a separate module, so that no other module
// depends on these libraries. README.md describes how to run it.
package peers
