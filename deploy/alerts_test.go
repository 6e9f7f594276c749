package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rulesFile is the form of deploy/alerts.yaml.
type rulesFile struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func alerts(t *testing.T) rulesFile {
	t.Helper()
	var file rulesFile
	if err := yaml.Unmarshal([]byte(read(t, "deploy/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 10 {
		t.Fatal("deploy/alerts.yaml has no alerts")
	}
	return file
}

// promtool runs Prometheus's own tool. The test is skipped if it is not installed; .ci/run has it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

func TestAlertsPassTheirUnitTests(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yaml")
	promtool(t, "test", "rules", "alerts_test.yaml")
}

// An alert without a test that it fires and a test that it does not could fire never or always.
func TestEachAlertHasUnitTestsAndADescription(t *testing.T) {
	var tests struct{ Tests []struct{ Name string } }
	if err := yaml.Unmarshal([]byte(read(t, "deploy/alerts_test.yaml")), &tests); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, test := range tests.Tests {
		names[test.Name] = true
	}
	for _, rule := range alerts(t).Groups[0].Rules {
		if !names[rule.Alert+" fires"] || !names[rule.Alert+" does not fire"] {
			t.Errorf("%s does not have both unit tests", rule.Alert)
		}
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q", rule.Alert, s)
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s does not state what it means and what to do", rule.Alert)
		}
	}
}

// dashboard is the part of Grafana's format that these tests use.
type dashboard struct {
	Panels []struct {
		Title, Type string
		GridPos     struct{ H, W, X, Y int }
		Targets     []struct{ Expr string }
	}
}

func TestDashboardQueriesAreValid(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/tokenbroker.json")), &d); err != nil {
		t.Fatal(err)
	}
	type recorded struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []recorded
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%q has no query", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q overlaps %q, or is outside the grid", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".+", "$job", "tokenbroker").Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%q has an unknown variable: %s", p.Title, target.Expr)
			}
			rules = append(rules, recorded{"q:panel", expr})
		}
	}
	// promtool reads queries as the rules of a file.
	type group struct {
		Name  string     `yaml:"name"`
		Rules []recorded `yaml:"rules"`
	}
	raw, err := yaml.Marshal(map[string]any{"groups": []group{{"dashboard", rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", file)
}
