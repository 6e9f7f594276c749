// Package bench has the benchmarks of the broker and the SDK, each with its floor in the same
// run. See README.md for how to read them.
package bench
