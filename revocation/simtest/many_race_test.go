//go:build race

package simtest_test

import "tokenbroker/internal/longtest"

// seedsInATest is smaller under the race detector, which takes ten times as long.
var seedsInATest = longtest.Pick[uint64](100, 2000)
