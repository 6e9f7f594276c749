//go:build !race

package simtest_test

import "tokenbroker/internal/longtest"

// seedsInATest is how many seeds "go test" runs.
var seedsInATest = longtest.Pick[uint64](500, 20_000)
