package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// guides returns the files of docs/guides, as paths below docs.
func guides(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/guides/*.md")
	if err != nil || len(paths) < 8 {
		t.Fatalf("docs/guides has %d files: %v", len(paths), err)
	}
	for i, path := range paths {
		paths[i] = filepath.Join("guides", filepath.Base(path))
	}
	return paths
}

// TestDocsGuides checks that each guide has the parts of a guide, and that its code blocks can be read by the program that they are
// for. TestDocsConfigurations checks the settings of the broker.
func TestDocsGuides(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	index := readFile(t, "../../docs/guides/README.md")
	for _, file := range guides(t) {
		if filepath.Base(file) == "README.md" {
			continue
		}
		if !strings.Contains(index, "]("+filepath.Base(file)+")") {
			t.Errorf("docs/guides/README.md has no link to %s", file)
		}
		text := readFile(t, filepath.Join("../../docs", file))
		for _, part := range []string{"\n## When it fails\n", "\n## Log-off and revocation\n", "\n```yaml\n"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %q", file, strings.TrimSpace(part))
			}
		}
		// A guide whose program no test runs quotes that program's documentation.
		if strings.Contains(text, "**Not run by a test**") {
			_, quotes, _ := strings.Cut(text, " documentation says\n")
			if !strings.Contains(quotes, "](https://") || strings.Count(quotes, `| "`) < 3 {
				t.Errorf("%s does not quote the documentation of the program that no test runs", file)
			}
		}
		for _, b := range fences(t, file) {
			info, _, _ := strings.Cut(b.info, " ")
			switch {
			case b.info == fenceElsewhere && !strings.HasPrefix(b.above, "Needs "):
				t.Errorf("%s:%d: the block is not run, and the line above does not say what it needs", file, b.line)
			case b.info == fenceElsewhere, b.info == fenceRun:
				cmd := exec.CommandContext(t.Context(), bash, "-n")
				cmd.Stdin = strings.NewReader(b.text)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s:%d: %v: %s", file, b.line, err, out)
				}
			case info == "yaml":
				var v map[string]any
				if err := yaml.Unmarshal([]byte(b.text), &v); err != nil || len(v) == 0 {
					t.Errorf("%s:%d: %v", file, b.line, err)
				}
			case info == "json":
				if !json.Valid([]byte(b.text)) {
					t.Errorf("%s:%d: not JSON", file, b.line)
				}
			case !slices.Contains([]string{"ini", "toml", "go", "groovy", "kotlin", "swift", "text", "http"}, info):
				t.Errorf("%s:%d: the fence is %q", file, b.line, b.info)
			}
		}
	}
}
