//go:build nodev

package main

import (
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// TestReleaseBuildServesAndRefusesDev is the smoke test of the build of releases and images.
func TestReleaseBuildServesAndRefusesDev(t *testing.T) {
	for _, args := range [][]string{{"dev"}, {"dev", "--data-dir", "x"}, {"dev", "--help"}, {"idp", "--listen", "127.0.0.1:0"}} {
		got := command(t, nil, args...)
		for _, want := range []string{"this build has no", "-tags nodev", "go run ./cmd/tokenbroker " + args[0]} {
			if got.code != terminal.ExitUsage || !strings.Contains(got.stderr, want) {
				t.Errorf("%v: exit code %d, %q, want 2 and %q", args, got.code, got.stderr, want)
			}
		}
	}
	if help := command(t, nil, "--help"); strings.Contains(help.stdout, "Cognito emulator") {
		t.Errorf("the help lists what this build has not:\n%s", help.stdout)
	}
	s := newServed(t, "http").start(t)
	s.operate(t, terminal.ExitOK, "healthcheck")
	s.finish(t)
}
