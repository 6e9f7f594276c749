// Command check runs the benchmarks that measure a promise of docs/design.md. It compares their
// ratios and counts with those in recorded.json, never absolute times:
//
//	go run ./bench/check                      # all, about four minutes
//	go run ./bench/check -bench 'seen|first'  # some suites
//	go run ./bench/check -record              # replace the record by new measurements
//
// It exits with 0 if no metric is worse than its record by more than the tolerance, with 1 and a table if
// a metric is worse or a recorded benchmark is missing, and with 2 for a usage error. A metric that looks
// worse is measured again, for longer, before it is reported. Run no other load on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitWorse  = 1
	exitMisuse = 2
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pattern := flags.String("bench", ".", "run only the suites whose name matches this `regexp`")
	tolerance := flags.Float64("tolerance", 0.25, "accept metrics that are worse than recorded by up to this `fraction`")
	renew := flags.Bool("record", false, "write the measurements to recorded.json instead of comparing them")
	attempts := flags.Int("attempts", 3, "measure a metric that looks worse up to this many `times`")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitMisuse
	}
	misuse := func(err error) int {
		_, _ = fmt.Fprintln(stderr, "check:", err)
		return exitMisuse
	}
	if flags.NArg() > 0 {
		return misuse(fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	if *tolerance <= 0 || *attempts < 1 {
		return misuse(errors.New("-tolerance must be above 0 and -attempts at least 1"))
	}
	chosen, err := choose(suites, *pattern)
	if err != nil {
		return misuse(err)
	}
	build, err := os.MkdirTemp("", "bench-check-")
	if err != nil {
		return misuse(err)
	}
	defer func() { _ = os.RemoveAll(build) }()
	r, err := newRunner(ctx, build)
	if err != nil {
		return misuse(err)
	}
	path := filepath.Join(r.root, "bench", "check", "recorded.json")
	recorded, err := readRecord(path)
	if err != nil && (!*renew || !errors.Is(err, os.ErrNotExist)) {
		return misuse(err)
	}
	c := checker{measure: r.run, tolerance: *tolerance, attempts: *attempts, progress: stderr}
	if *renew {
		err = c.record(ctx, chosen, &recorded, time.Now().Format(time.DateOnly))
		if err == nil {
			err = recorded.write(path)
		}
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "check:", err)
			return exitWorse
		}
		return exitOK
	}
	found, err := c.check(ctx, chosen, recorded)
	if *pattern == "." {
		found = append(found, dropped(suites, recorded)...)
	}
	if errTable := printTable(stdout, found); err == nil {
		err = errTable
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "check:", err)
		return exitWorse
	}
	if bad := slices.DeleteFunc(found, func(f finding) bool { return !f.bad() }); len(bad) > 0 {
		_, _ = fmt.Fprintf(stderr, "check: %d metrics are worse than recorded by more than %.0f %%, or missing\n", len(bad), 100**tolerance)
		return exitWorse
	}
	return exitOK
}
