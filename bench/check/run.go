package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// runner runs benches as test binaries, which it builds once for each package.
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

// run returns what the suite's benches print, each run count times.
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

// output returns what a command prints; the error carries what it complained of.
func output(cmd *exec.Cmd) (string, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, strings.TrimSpace(out.String()+complaint.String()))
	}
	return out.String(), nil
}
