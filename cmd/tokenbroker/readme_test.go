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

// runPasted runs commands as a terminal does, in an empty directory, and returns what they print.
func runPasted(t *testing.T, commands string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-c", commands)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return string(out)
}

// TestREADMETour pastes the tour, with the line that dev on free ports prints for its first one.
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
	addresses := regexp.MustCompile(`(?m)^ *BROKER=.*`)
	printed := addresses.FindString(dev.output.String())
	if n := len(addresses.FindAllString(blocks[1], -1)); n != 1 || printed == "" {
		t.Fatalf("the tour has %d lines with addresses, and dev prints %q", n, printed)
	}
	tour := addresses.ReplaceAllLiteralString(blocks[1], printed)
	if strings.Contains(tour, ":8080") || strings.Contains(tour, ":8082") {
		t.Error("the tour has addresses that are not in its first line")
	}
	out := runPasted(t, tour)
	for _, want := range []string{
		`"hello":`, "200\n", `"client_id":"demo-spa"`, `"CSRF_token":`, `"code":"token_revoked"`, "401\n",
		`"issuer":`, `"events":[{"kind":"sid"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the tour printed no %s:\n%s", want, out)
		}
	}

	_, commands, _ := strings.Cut(dev.output.String(), "in another terminal:\n")
	commands, _, _ = strings.Cut(commands, "Stop with")
	out = runPasted(t, commands)
	for _, want := range []string{`"access_token":`, " 200 OK", `"hello":`, " 401 Unauthorized", `"code":"token_revoked"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the banner's commands printed no %s:\n%s", want, out)
		}
	}
	dev.finish(t)
}
