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
	smaller direction = "smaller" // is better
	larger  direction = "larger"
)

// suite is benches that are run together.
type suite struct {
	name  string
	pkg   string // directory below the module's root
	bench string // the pattern for go test -bench
	cpu   string // for -cpu: part of the benches' names, so the same on each machine
	time  time.Duration
	count int
	// ratios is which x-… are better: ratios of times are to be small, of rates large.
	ratios direction
	// unsteady is a metric that is left out, because it varies without any change of the code.
	unsteady string
}

// suites are chosen so that a check takes a few minutes and each promise of
// docs/design.md §11 that Go benches measure has its line.
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

// better is which way a metric of the suite is to go. ok is false for what depends on the
// machine, which is never compared.
func (s suite) better(unit string) (better direction, ok bool) {
	switch {
	case unit == s.unsteady:
	case strings.HasSuffix(unit, "-p99.9"): // of a short run: its one worst case
	case strings.HasPrefix(unit, "x-"):
		return s.ratios, true
	case unit == "allocs/op", unit == "B/op", unit == "commits/op", unit == "bytes/entry", unit == "signatures/op":
		return smaller, true
	}
	return "", false
}

// slack is how far a count may change regardless of its value: one instead of zero is infinitely
// worse, and a few bytes are noise.
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
