//go:build !race

package simtest_test

// seedsInATest is how many seeds "go test" runs.
const seedsInATest = 1500
