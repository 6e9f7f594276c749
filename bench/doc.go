// Package bench holds the benches that operators run, each beside its floor in the same
// run. See README.md for how to read them.
package bench
