package web_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
		Version string `json:"version"`
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
}

// TestPackage packs the npm package in a copy of the repository, and imports it by its name.
func TestPackage(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("npm is not installed")
		}
		t.Skip("npm is not installed")
	}
	root := t.TempDir()
	for _, name := range []string{"LICENSE", "api/web/package.json", "api/web/README.md", "api/web/client.js", "api/web/client.d.ts", "api/web/demo.js"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, read(t, filepath.Join("../..", name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const script = `set -e
npm pack --silent --offline ./api/web >name
mkdir -p node_modules && tar -xzf "$(cat name)" -C node_modules && mv node_modules/package node_modules/tokenbroker-client
(cd node_modules/tokenbroker-client && echo *)
node --input-type=module -e 'import { createClient, version } from "tokenbroker-client"; console.log(typeof createClient, typeof version)'`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := "LICENSE README.md client.d.ts client.js package.json\nfunction string\n"; string(out) != want {
		t.Errorf("the package has and exports\n%swant\n%s", out, want)
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
