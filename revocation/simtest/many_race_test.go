//go:build race

package simtest_test

// seedsInATest under the race detector, which takes ten times as long.
const seedsInATest = 100
