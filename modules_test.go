package tokenbroker_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The build of a release links the modules of testdata/modules.txt and no others: a new one is a decision.
func TestTheReleaseLinksTheListedModules(t *testing.T) {
	touchSources(t)
	text, err := os.ReadFile("testdata/modules.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("go.mod"); err != nil { // for the test cache, as touchSources
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		module, why, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.TrimSpace(why) == "" {
			t.Errorf("testdata/modules.txt: %s has no reason", module)
		}
		listed = append(listed, module)
	}
	if !slices.IsSorted(listed) {
		t.Error("testdata/modules.txt is not sorted")
	}
	linked := listRelease(t, `{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}`)
	for _, module := range linked {
		if !slices.Contains(listed, module) {
			t.Errorf("tokenbroker links %s, which testdata/modules.txt does not list", module)
		}
	}
	for _, module := range listed {
		if !slices.Contains(linked, module) {
			t.Errorf("testdata/modules.txt lists %s, which tokenbroker does not link", module)
		}
	}
}

func TestTheReleaseHasNoDevelopmentServer(t *testing.T) {
	touchSources(t)
	linked := listRelease(t, "{{.ImportPath}}")
	for _, pkg := range linked {
		for _, left := range []string{"tokenbroker/store/etcdstore/member", "go.etcd.io/etcd/server/v3", "tokenbroker/cmd/tokenbroker/internal/devserver", "tokenbroker/upstream/devidp", "tokenbroker/examples", "tokenbroker/docs", "tokenbroker/validator/httpauth"} {
			if pkg == left || strings.HasPrefix(pkg, left+"/") {
				t.Errorf("tokenbroker built with -tags nodev depends on %s", pkg)
			}
		}
	}
}

// listRelease returns what format prints for the packages of a release of tokenbroker, sorted, each once.
func listRelease(t *testing.T, format string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "nodev", "-f", format, "./cmd/tokenbroker")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -tags nodev: %v", err)
	}
	lines := strings.Fields(string(out))
	if len(lines) < 100 {
		t.Fatalf("go list -tags nodev printed %d lines: this test sees nothing", len(lines))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}
