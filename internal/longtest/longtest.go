// Package longtest sets the size of tests that repeat a check: the number of seeds, kills or damaged
// files, and durations. The ordinary suite uses the smallest size that still proves the property;
// `make long` uses a much larger one.
package longtest

import (
	"os"
	"testing"
)

// Env is the environment variable that selects the long suite if its value is 1. Its name does not
// begin with TOKENBROKER_, because the broker refuses a variable with that prefix that is not a key of
// its configuration.
const Env = "TEST_LONG"

// Pick returns long in the long suite, otherwise ordinary.
func Pick[T any](ordinary, long T) T {
	if os.Getenv(Env) == "1" {
		return long
	}
	return ordinary
}

// SkipShort skips a test of several seconds if -short is set. why states what takes the time.
func SkipShort(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("with -short: " + why)
	}
}
