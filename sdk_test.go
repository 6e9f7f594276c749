package tokenbroker_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenbroker/internal/longtest"
)

// TestAnotherModuleUsesTheSDK runs the commands of docs/sdk.md in one shell, in a directory next to a link
// to this tree.
func TestAnotherModuleUsesTheSDK(t *testing.T) {
	longtest.SkipShort(t, "builds a separate module")
	touchSources(t)
	document, err := os.ReadFile("docs/sdk.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(document), -1)
	if len(blocks) != 4 {
		t.Fatalf("docs/sdk.md has %d blocks of commands, want 4", len(blocks))
	}
	script := "set -eux\n"
	for _, block := range blocks {
		script += block[1]
	}
	// Nothing is downloaded where all modules are in the cache, as they are after `go mod download`.
	dir, err := runNextToTree(t, script, "GOPROXY=off", "GOSUMDB=off")
	if err != nil && strings.Contains(err.Error(), "GOPROXY=off") {
		if dir, err = runNextToTree(t, script); err != nil && strings.Contains(err.Error(), "dial tcp") {
			t.Skipf("modules are missing from the cache, and no proxy answers: %v", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range dependencies(t, ".", dir) {
		for _, heavy := range []string{"github.com/gin-gonic", "github.com/dgraph-io", "github.com/nats-io/nats-server", "tokenbroker/broker"} {
			if strings.HasPrefix(dep, heavy) {
				t.Errorf("a service depends on %s", dep)
			}
		}
	}
}

// runNextToTree runs script in a new directory next to `tokenbroker`, a link to this tree, and returns the
// directory of the module that it makes.
func runNextToTree(t *testing.T, script string, env ...string) (module string, err error) {
	t.Helper()
	tree, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(tree, filepath.Join(dir, "tokenbroker")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOFLAGS=", "GOWORK="), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return filepath.Join(dir, "my-service"), nil
}
