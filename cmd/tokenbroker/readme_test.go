package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenbroker/internal/longtest"
)

// fenced returns README.md's code blocks of a language.
func fenced(t *testing.T, language string) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(readme), "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

func TestREADMEProgramIsTheCompiledOne(t *testing.T) {
	program, err := os.ReadFile("../../examples/minimal/main.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := fenced(t, "go")
	if len(blocks) != 1 || blocks[0] != string(program) {
		t.Error("README.md does not quote examples/minimal/main.go to the letter")
	}
}

// A reader decides by README.md within minutes; what is longer belongs to docs/.
func TestREADMEIsShort(t *testing.T) {
	text := readFile(t, "../../README.md")
	if lines := strings.Count(text, "\n"); lines >= 150 {
		t.Errorf("README.md has %d lines, want fewer than 150", lines)
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Errorf("README.md links to %s: %v", m[1], err)
		}
	}
}

// TestREADMETour pastes the tour, with the addresses of a dev on free ports.
func TestREADMETour(t *testing.T) {
	t.Parallel()
	longtest.SkipShort(t, "runs each command of the tour")
	for _, tool := range []string{"bash", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	blocks := fenced(t, "sh")
	if len(blocks) != 2 {
		t.Fatalf("README.md has %d sh blocks, want the commands and the tour", len(blocks))
	}
	dev := startDev(t)
	address := strings.NewReplacer(
		"127.0.0.1:8080", strings.TrimPrefix(dev.issuer, "http://"),
		"127.0.0.1:8082", strings.TrimPrefix(dev.sample, "http://"),
	)
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-c", address.Replace(blocks[1]))
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{
		`"hello":`, "200\n", `"client_id":"demo-spa"`, `"CSRF_token":`, `"code":"token_revoked"`, "401\n",
		`"issuer":`, `"events":[{"kind":"sid"`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the tour printed no %s:\n%s", want, out)
		}
	}
	dev.finish(t)
}
