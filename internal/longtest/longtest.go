// Package longtest sizes the tests that repeat themselves: seeds, kills, damages, durations.
// The ordinary suite runs as many of them as the proof needs; `make long` runs many more.
package longtest

import (
	"os"
	"testing"
)

// Env is the environment variable that asks for the long suite, with the value 1. Its name has
// no prefix TOKENBROKER_: the broker refuses a variable with that prefix that is not a key of
// its configuration.
const Env = "TEST_LONG"

// Pick returns long in the long suite, and otherwise ordinary.
func Pick[T any](ordinary, long T) T {
	if os.Getenv(Env) == "1" {
		return long
	}
	return ordinary
}

// SkipShort skips a test of several seconds with -short; why says what takes the time.
func SkipShort(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("with -short: " + why)
	}
}
