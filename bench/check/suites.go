package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// direction says which values of a metric are better.
type direction string

const (
	smaller direction = "smaller" // values are better
	larger  direction = "larger"
)

// suite is a group of benchmarks that run together.
type suite struct {
	name  string
	pkg   string // directory below the module's root
	bench string // pattern for go test -bench
	cpu   string // value of -cpu, which is part of the benchmarks' names and so the same on each machine
	time  time.Duration
	count int
	// ratios says which values of the metrics x-… are better: smaller for ratios of times, larger
	// for ratios of rates.
	ratios direction
	// unsteady is a metric that is not compared, because it varies without any change of the code.
	unsteady string
}

// suites has a suite for each promise of docs/design.md §11 that Go benchmarks measure. A check
// takes a few minutes.
var suites = []suite{
	{name: "seen-before", pkg: "bench", bench: "^BenchmarkValidateSeenBefore$/^live=(1|1000|100000)$", cpu: "1,2", time: 200 * time.Millisecond, count: 5, ratios: smaller, unsteady: "x-map"},
	{name: "first-sight", pkg: "bench", bench: "^BenchmarkValidateFirstSight$", cpu: "1", time: 200 * time.Millisecond, count: 5, ratios: smaller},
	{name: "flood", pkg: "bench", bench: "^BenchmarkValidateFlood$", cpu: "1", time: 200 * time.Millisecond, count: 5, ratios: smaller},
	{name: "mint", pkg: "bench", bench: "^BenchmarkMint$", cpu: "1", time: 200 * time.Millisecond, count: 5, ratios: smaller},
	{name: "refresh", pkg: "bench", bench: "^BenchmarkRefreshDurable$/^broker$", cpu: "2", time: time.Second, count: 3, ratios: larger},
	{name: "refresh-http", pkg: "bench", bench: "^BenchmarkRefreshHTTP$/^broker$", cpu: "2", time: time.Second, count: 3, ratios: larger},
	{name: "verify-http", pkg: "bench", bench: "^BenchmarkVerifyHTTP$", cpu: "2", time: 500 * time.Millisecond, count: 3, ratios: larger},
	{name: "introspect-http", pkg: "bench", bench: "^BenchmarkIntrospectHTTP$", cpu: "2", time: 500 * time.Millisecond, count: 3, ratios: larger},
	{name: "denylist-look-up", pkg: "bench", bench: "^BenchmarkDenylistLookUp$", cpu: "1", time: 100 * time.Millisecond, count: 5, ratios: smaller},
	{name: "denylist-fill", pkg: "bench", bench: "^BenchmarkDenylistFill$/^capped$/^entries=(1000|100000)$", cpu: "1", time: 200 * time.Millisecond, count: 3, ratios: smaller},
	{name: "propagation", pkg: "bench", bench: "^BenchmarkPropagation$/^subscribers=(10|100)$", cpu: "2", time: time.Second, count: 2, ratios: smaller},
	{name: "log-off", pkg: "bench", bench: "^BenchmarkLogOffToDenylist$/^one-by-one$", cpu: "2", time: time.Second, count: 3, ratios: larger},
}

// better returns which values of a metric of the suite are better. ok is false for metrics that
// depend on the machine, which are never compared.
func (s suite) better(unit string) (better direction, ok bool) {
	switch {
	case unit == s.unsteady:
	case strings.HasSuffix(unit, "-p99.9"): // of a short run, where it is a single value
	case strings.HasPrefix(unit, "x-"):
		return s.ratios, true
	case unit == "allocs/op", unit == "B/op", unit == "commits/op", unit == "bytes/entry", unit == "signatures/op":
		return smaller, true
	}
	return "", false
}

// slack returns how far a count may change regardless of its value: one instead of zero would be an
// infinite change, and a few bytes are noise.
func slack(unit string) float64 {
	switch unit {
	case "allocs/op":
		return 0.5
	case "B/op":
		return 32
	case "signatures/op":
		return 0.01
	}
	return 0
}

// choose returns the suites whose name matches.
func choose(all []suite, pattern string) ([]suite, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-bench: %w", err)
	}
	var chosen []suite
	var names []string
	for _, s := range all {
		names = append(names, s.name)
		if re.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-bench %s matches none of %s", pattern, strings.Join(names, ", "))
	}
	return chosen, nil
}
