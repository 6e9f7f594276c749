package interop

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMCPConformanceOfTheAuthorizationServer runs the conformance suite of MCP against tokenbroker dev, for each revision of the MCP
// specification that has Client ID Metadata Documents.
func TestMCPConformanceOfTheAuthorizationServer(t *testing.T) {
	node(t, "") // fails or skips before the broker starts
	s, service := startDev(t)
	for _, revision := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(revision, func(t *testing.T) {
			results := t.TempDir()
			cmd := node(t, "node_modules/@modelcontextprotocol/conformance/dist/index.js", "authorization", "--url", s.issuer,
				"--client-id", "demo-native", "--resource", service+"/", "--port", freePorts(t, 1)[0], "--output-dir", results, "--spec-version", revision)
			b, opened := newBrowser(t, s, ""), 0
			printed := runLines(t, cmd, func(line string) string {
				if strings.HasPrefix(line, s.issuer+"/auth/authorize?") { // for a person to open it
					opened++
					b.signIn(t, line)
				}
				return ""
			})
			checks := readChecks(t, results)
			want := map[string]string{
				"authorization-server-metadata": "SUCCESS", "authorization-server-metadata-cimd": "SUCCESS", "authorization-code-grant": "SUCCESS",
			}
			if !maps.Equal(checks, want) || opened != 1 {
				t.Errorf("checks: %v, want %v; %d URLs were opened\n%s", checks, want, opened, printed)
			}
		})
	}
}

// readChecks returns the status of each check of the files that the conformance suite wrote. Of a check that was made more than once
// the status is each of them.
func readChecks(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string][]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var checks []struct{ ID, Status string }
		if err := json.Unmarshal(raw, &checks); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, check := range checks {
			statuses[check.ID] = append(statuses[check.ID], check.Status)
		}
	}
	all := map[string]string{}
	for id := range statuses {
		all[id] = strings.Join(slices.Sorted(slices.Values(statuses[id])), " ")
	}
	return all
}
