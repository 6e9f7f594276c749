//go:build race

package simtest_test

import "tokenbroker/internal/longtest"

// seedsInATest and clustersInATest are smaller under the race detector, which takes ten times as long.
var (
	seedsInATest    = longtest.Pick[uint64](100, 2000)
	clustersInATest = longtest.Pick[uint64](30, 2000)
)

// clusterBugs says whether the planted bugs of clusters are run, which takes minutes here.
var clusterBugs = longtest.Pick(false, true)
