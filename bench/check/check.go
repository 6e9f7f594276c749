package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"tokenbroker/bench/gobench"
)

// checker measures suites.
type checker struct {
	measure   func(ctx context.Context, s suite, count int) (string, error)
	tolerance float64
	attempts  int
	progress  io.Writer
}

// check returns the findings of each suite, until a suite cannot be run. A result that looks worse
// is measured again, for longer.
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

// record replaces the records of the suites. Those of other suites are kept.
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
		err = fmt.Errorf("%s: no benchmark matches %s", s.name, s.bench)
	}
	return found, cpu, err
}

// runner runs benchmarks as test binaries. It builds each package once.
type runner struct {
	root  string // of the module
	build string // a directory for the binaries
	built map[string]string
}

func newRunner(ctx context.Context, build string) (*runner, error) {
	root, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}"))
	if err != nil {
		return nil, fmt.Errorf("looking for the module: %w", err)
	}
	return &runner{root: strings.TrimSpace(root), build: build, built: make(map[string]string)}, nil
}

// run returns the output of the suite's benchmarks, each of which runs count times.
func (r *runner) run(ctx context.Context, s suite, count int) (string, error) {
	dir := filepath.Join(r.root, s.pkg)
	binary, ok := r.built[s.pkg]
	if !ok {
		binary = filepath.Join(r.build, strings.ReplaceAll(s.pkg, "/", "-")+".test")
		compile := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, ".")
		compile.Dir = dir
		if _, err := output(compile); err != nil {
			return "", fmt.Errorf("building the benches of %s: %w", s.pkg, err)
		}
		r.built[s.pkg] = binary
	}
	bench := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench="+s.bench, "-test.cpu="+s.cpu,
		"-test.benchtime="+s.time.String(), "-test.count="+strconv.Itoa(count), "-test.timeout=10m")
	bench.Dir = dir
	out, err := output(bench)
	if err != nil {
		return "", fmt.Errorf("running %s: %w", s.bench, err)
	}
	return out, nil
}

// output returns the standard output of a command. If it fails, the error has all of its output.
func output(cmd *exec.Cmd) (string, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, strings.TrimSpace(out.String()+complaint.String()))
	}
	return out.String(), nil
}
