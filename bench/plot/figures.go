package main

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"

	"gonum.org/v1/plot/plotter"

	"tokenbroker/bench/gobench"
)

// figure is one picture: lines over the size that is part of the benchmarks' names.
type figure struct {
	name  string // of the file, without its extension
	title string
	x, y  string
	// linear selects a y axis that starts at 0, for values that should not grow. Otherwise it is
	// logarithmic.
	linear bool
	lines  []line
}

type line struct {
	name string
	// bench matches the names of the benchmarks. Its group is the size.
	bench *regexp.Regexp
	unit  string
	// over, if set, is the unit by which the value is divided: value / x-… is the time of the
	// floor.
	over string
	// floor selects a dashed line, for values with which the others are compared.
	floor bool
}

var figures = []figure{
	{
		name: "validate-seen-before", title: "A token that was seen before, one core",
		x: "live tokens", y: "ns a token",
		lines: []line{
			{name: "validator", bench: regexp.MustCompile(`^ValidateSeenBefore/live=(\d+)/warm$`), unit: "ns/op"},
			{name: "validator, token not in the processor's cache", bench: regexp.MustCompile(`^ValidateSeenBefore/live=(\d+)/cold$`), unit: "ns/op"},
			{name: "map under a RWMutex, no revocation", bench: regexp.MustCompile(`^ValidateSeenBefore/live=(\d+)/warm$`), unit: "ns/op", over: "x-map"},
			{name: "one time.Since", bench: regexp.MustCompile(`^ValidateSeenBefore/live=(\d+)/warm$`), unit: "ns/op", over: "x-time-since", floor: true},
		},
	},
	{
		name: "denylist-look-up", title: "A look-up in the denylist",
		x: "entries", y: "ns a look-up",
		lines: []line{
			{name: "denylist, hit", bench: regexp.MustCompile(`^DenylistLookUp/hit/entries=(\d+)`), unit: "ns/op"},
			{name: "denylist, miss", bench: regexp.MustCompile(`^DenylistLookUp/miss/entries=(\d+)`), unit: "ns/op"},
			{name: "golang-lru, hit", bench: regexp.MustCompile(`^DenylistLookUp/hit/entries=(\d+)`), unit: "ns/op", over: "x-lru"},
			{name: "plain map, hit", bench: regexp.MustCompile(`^DenylistLookUp/hit/entries=(\d+)`), unit: "ns/op", over: "x-map", floor: true},
		},
	},
	{
		name: "denylist-memory", title: "Memory of a revocation",
		x: "entries", y: "bytes an entry", linear: true,
		lines: []line{
			{name: "denylist", bench: regexp.MustCompile(`^DenylistFill/capped/entries=(\d+)`), unit: "bytes/entry"},
			{name: "golang-lru", bench: regexp.MustCompile(`^DenylistFill/capped/entries=(\d+)`), unit: "lru-bytes/entry"},
			{name: "plain map", bench: regexp.MustCompile(`^DenylistFill/capped/entries=(\d+)`), unit: "map-bytes/entry", floor: true},
		},
	},
	{
		name: "refresh-growth", title: "Durable refreshes of 64 sessions at once",
		x: "sessions, or revocations", y: "rate, x that with none, in turns", linear: true,
		lines: []line{
			{name: "so many sessions in the store", bench: regexp.MustCompile(`^RefreshGrowth/sessions=(\d+)`), unit: "x-empty"},
			{name: "so many revocations in the denylist", bench: regexp.MustCompile(`^RefreshGrowth/revocations=(\d+)`), unit: "x-empty"},
			{name: "none", bench: regexp.MustCompile(`^RefreshGrowth/sessions=(\d+)`), unit: "x-empty", over: "x-empty", floor: true},
		},
	},
	{
		name: "propagation", title: "From the caller's log-off until the last service refuses the token",
		x: "services", y: "ms",
		lines: []line{
			{name: "p50", bench: regexp.MustCompile(`^Propagation/subscribers=(\d+)`), unit: "p50-ms"},
			{name: "p99", bench: regexp.MustCompile(`^Propagation/subscribers=(\d+)`), unit: "p99-ms"},
			{name: "p99.9", bench: regexp.MustCompile(`^Propagation/subscribers=(\d+)`), unit: "p99.9-ms"},
			{name: "raw NATS, fsync and a signature check each, p50", bench: regexp.MustCompile(`^Propagation/subscribers=(\d+)`), unit: "raw-p50-ms", floor: true},
			{name: "the same, p99", bench: regexp.MustCompile(`^Propagation/subscribers=(\d+)`), unit: "raw-p99-ms", floor: true},
		},
	},
}

// curve is a line with its points.
type curve struct {
	line
	points plotter.XYs
}

// curves returns the lines with at least two measured points.
func (f figure) curves(found gobench.Results) []curve {
	var all []curve
	for _, l := range f.lines {
		if points := l.points(found); len(points) > 1 {
			all = append(all, curve{l, points})
		}
	}
	return all
}

func (l line) points(found gobench.Results) plotter.XYs {
	var points plotter.XYs
	for name, metrics := range found {
		groups := l.bench.FindStringSubmatch(name)
		if groups == nil || len(metrics[l.unit]) == 0 {
			continue
		}
		size, err := strconv.ParseFloat(groups[1], 64)
		if err != nil {
			continue // the group is not a number, so it is another benchmark
		}
		value := gobench.Median(metrics[l.unit])
		if l.over != "" {
			if len(metrics[l.over]) == 0 {
				continue
			}
			value /= gobench.Median(metrics[l.over])
		}
		points = append(points, plotter.XY{X: size, Y: value})
	}
	slices.SortFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	return points
}
