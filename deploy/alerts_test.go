package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// unitTests are the files with the unit tests of deploy/alerts.yaml.
var unitTests = []string{"alerts_test.yaml", "alerts_days_test.yaml"}

func TestAlertsPassTheirUnitTests(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yaml")
	promtool(t, append([]string{"test", "rules"}, unitTests...)...)
}

// An alert without a test that it fires and a test that it does not could fire never or always.
func TestEachAlertHasUnitTestsAndADescription(t *testing.T) {
	names := map[string]bool{}
	for _, file := range unitTests {
		var tests struct{ Tests []struct{ Name string } }
		if err := yaml.Unmarshal([]byte(read(t, "deploy/"+file)), &tests); err != nil {
			t.Fatal(err)
		}
		for _, test := range tests.Tests {
			names[test.Name] = true
		}
	}
	for _, rule := range alerts(t).Groups[0].Rules {
		if !names[rule.Alert+" fires"] || !names[rule.Alert+" does not fire"] {
			t.Errorf("%s does not have both unit tests", rule.Alert)
		}
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q", rule.Alert, s)
		}
		// Those of several brokers have more to look at than fits into a description.
		if ofSeveral.MatchString(rule.Expr) && (rule.For == "" || rule.Annotations["runbook"] == "") {
			t.Errorf("%s has no time or no runbook", rule.Alert)
		}
		checkRunbook(t, rule.Alert, rule.Annotations["runbook"])
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s does not state what it means and what to do", rule.Alert)
		}
	}
}

// ofSeveral matches the metrics that only several brokers have.
var ofSeveral = regexp.MustCompile("tokenbroker_(cluster|engine|etcd|postgres)_")

// checkRunbook checks that the heading exists to which an annotation refers, if it is there.
func checkRunbook(t *testing.T, alert, runbook string) {
	t.Helper()
	if runbook == "" {
		return
	}
	file, anchor, _ := strings.Cut(runbook, "#")
	for line := range strings.Lines(read(t, file)) {
		if title, ok := strings.CutPrefix(strings.TrimSpace(line), "#### "); ok && strings.ToLower(title) == anchor {
			return
		}
	}
	t.Errorf("%s: %s is not there", alert, runbook)
}

// dashboard is the part of Grafana's format that these tests use.
type dashboard struct {
	UID    string
	Panels []struct {
		ID                       int
		Title, Type, Description string
		GridPos                  struct{ H, W, X, Y int }
		Targets                  []struct {
			Expr       string
			RefID      string
			Datasource struct{ UID string }
		}
	}
	Templating struct{ List []struct{ Name, Type string } }
}

// recorded is a rule of a file, as which promtool reads a query.
type recorded struct {
	Record string `yaml:"record"`
	Expr   string `yaml:"expr"`
}

func TestDashboardQueriesAreValid(t *testing.T) {
	files, err := filepath.Glob("grafana/*.json")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	var rules []recorded
	uids := map[string]bool{}
	for _, file := range files {
		var d dashboard
		if err := json.Unmarshal([]byte(read(t, "deploy/"+file)), &d); err != nil {
			t.Fatal(err)
		}
		if uids[d.UID] || d.UID == "" {
			t.Errorf("%s: the uid %q is missing or taken", file, d.UID)
		}
		uids[d.UID] = true
		if !slices.ContainsFunc(d.Templating.List, func(v struct{ Name, Type string }) bool { return v.Name == "datasource" && v.Type == "datasource" }) {
			t.Errorf("%s: has no variable for the data source", file)
		}
		t.Run(file, func(t *testing.T) { rules = append(rules, d.check(t)...) })
	}
	type group struct {
		Name  string     `yaml:"name"`
		Rules []recorded `yaml:"rules"`
	}
	raw, err := yaml.Marshal(map[string]any{"groups": []group{{"dashboards", rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", file)
}

// check checks the panels and returns their queries.
func (d dashboard) check(t *testing.T) (rules []recorded) {
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("%q: the id %d is missing or taken", p.Title, p.ID)
		}
		ids[p.ID] = true
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
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.Datasource.UID != "${datasource}" {
				t.Errorf("%q: query %s has the id of another one, or not the chosen data source", p.Title, target.RefID)
			}
			refs[target.RefID] = true
			expr := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".+", "$job", "tokenbroker").Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%q has an unknown variable: %s", p.Title, target.Expr)
			}
			rules = append(rules, recorded{"q:panel", expr})
		}
	}
	return rules
}
