package web_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tokenbroker/api/web"
)

// TestOneVersion compares the version of client.js with that of the npm package and with the last
// release in CHANGELOG.md: client.js has that version, or one for development after it.
func TestOneVersion(t *testing.T) {
	source, err := web.Files.ReadFile("client.js")
	if err != nil {
		t.Fatal(err)
	}
	var pack struct {
		Version string   `json:"version"`
		Files   []string `json:"files"`
	}
	if err := json.Unmarshal(read(t, "package.json"), &pack); err != nil {
		t.Fatal(err)
	}
	exported := regexp.MustCompile(`(?m)^export const version = "([^"]+)";$`).FindSubmatch(source)
	if exported == nil || string(exported[1]) != pack.Version {
		t.Errorf("client.js has the version %q, package.json %q", exported, pack.Version)
	}
	number, development := strings.CutSuffix(pack.Version, "-dev")
	release := regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+)\]`).FindSubmatch(read(t, "../../CHANGELOG.md"))
	switch {
	case release == nil && !development:
		t.Errorf("version %s: CHANGELOG.md has no release, so the version ends with -dev", pack.Version)
	case release != nil && (number == string(release[1])) == development:
		t.Errorf("version %s after release %s: want that release, or the next one with -dev", pack.Version, release[1])
	}
	for _, file := range []string{"client.js", "client.d.ts"} {
		if !slices.Contains(pack.Files, file) {
			t.Errorf("the package has no %s", file)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
