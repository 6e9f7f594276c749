package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"

	"tokenbroker/bench/gobench"
)

// checker measures suites.
type checker struct {
	measure   func(ctx context.Context, s suite, count int) (string, error)
	tolerance float64
	attempts  int
	progress  io.Writer
}

// check returns what it found of each suite, up to the first that cannot be run. What looks
// worse is measured again, and longer.
func (c checker) check(ctx context.Context, chosen []suite, recorded record) ([]finding, error) {
	var all []finding
	for _, s := range chosen {
		var found []finding
		for attempt := range c.attempts {
			measured, _, err := c.run(ctx, s, s.count<<min(attempt, 1))
			if err != nil {
				return all, err
			}
			now := compare(s, recorded.Suites[s.name], measured, c.tolerance)
			if attempt == 0 {
				found = now
			} else {
				found = milder(found, now)
			}
			if !slices.ContainsFunc(found, finding.bad) {
				break
			}
		}
		all = append(all, found...)
	}
	return all, nil
}

// record replaces the suites' records; those of others stay.
func (c checker) record(ctx context.Context, chosen []suite, into *record, date string) error {
	if into.Suites == nil {
		into.Suites = make(map[string]recordedSuite)
	}
	for _, s := range chosen {
		measured, cpu, err := c.run(ctx, s, 2*s.count)
		if err != nil {
			return err
		}
		kept := newRecordedSuite(s, measured)
		kept.Date, kept.Go = date, runtime.Version()
		kept.Machine = fmt.Sprintf("%s, %d CPUs, %s/%s", cpu, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
		into.Suites[s.name] = kept
	}
	return nil
}

func (c checker) run(ctx context.Context, s suite, count int) (gobench.Results, string, error) {
	_, _ = fmt.Fprintf(c.progress, "%s, %d times\n", s.name, count)
	out, err := c.measure(ctx, s, count)
	if err != nil {
		return nil, "", err
	}
	found, cpu, err := gobench.Parse(out)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s: no bench matches %s", s.name, s.bench)
	}
	return found, cpu, err
}
