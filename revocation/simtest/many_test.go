//go:build !race

package simtest_test

import "tokenbroker/internal/longtest"

// seedsInATest and clustersInATest are how many seeds "go test" runs with one broker and with up to three.
var (
	seedsInATest    = longtest.Pick[uint64](500, 20_000)
	clustersInATest = longtest.Pick[uint64](2000, 100_000)
)

// clusterBugs says whether the planted bugs of clusters are run.
const clusterBugs = true
