package node_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"tokenbroker/cmd/tokenbroker/internal/node"
)

// described returns the labels of every metric that a broker exports, by name.
func (l *lab) described() map[string][]string {
	descs := make(chan *prometheus.Desc, 1000)
	node.Registry(l.node).Describe(descs)
	close(descs)
	form := regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: .*, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	label := regexp.MustCompile(`\w+`)
	all := map[string][]string{}
	for d := range descs {
		m := form.FindStringSubmatch(d.String())
		if m == nil {
			l.t.Fatalf("cannot read %s", d)
		}
		for _, constant := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			all[m[1]] = append(all[m[1]], constant[1])
		}
		all[m[1]] = append(all[m[1]], label.FindAllString(m[3], -1)...)
	}
	return all
}

// queries returns the expressions of deploy/alerts.yaml and of the dashboard, without duplicates.
func queries(t *testing.T) []string {
	t.Helper()
	const deploy = "../../../../deploy/"
	read := func(name string) []byte {
		raw, err := os.ReadFile(deploy + name)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var rules struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	var board struct {
		Panels     []struct{ Targets []struct{ Expr string } }
		Templating struct {
			List []struct{ Query any }
		}
	}
	if err := yaml.Unmarshal(read("alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(read("grafana/tokenbroker.json"), &board); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, r := range rules.Groups[0].Rules {
		all[r.Expr] = true
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all[target.Expr] = true
		}
	}
	for _, v := range board.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			all[q["query"].(string)] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

var (
	metricName = regexp.MustCompile(`\b(?:tokenbroker|process|go)_\w+`)
	quoted     = regexp.MustCompile(`"[^"]*"`)
	matchers   = regexp.MustCompile(`\{([^}]*)\}`)
	grouping   = regexp.MustCompile(`\b(?:by|on|without|ignoring)\s*\(([^)]*)\)`)
	words      = regexp.MustCompile(`\w+`)
)

// TestRulesAndDashboardUseExportedMetrics checks that a broker exports each metric and each label that
// deploy/alerts.yaml and the dashboard use.
func TestRulesAndDashboardUseExportedMetrics(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	exported := l.described()
	raw, err := os.ReadFile("../../../../docs/operate.md") // a metric without observations has no type in a scrape
	if err != nil {
		t.Fatal(err)
	}
	documented := string(raw)
	asked := 0
	for _, q := range queries(t) {
		text := quoted.ReplaceAllString(q, `""`)
		labels := []string{"job", "instance"} // those of the scrape
		for _, name := range metricName.FindAllString(text, -1) {
			asked++
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if b, ok := strings.CutSuffix(name, suffix); ok && strings.Contains(documented, "| `"+b+"` | histogram |") {
					base, labels = b, append(labels, "le")
				}
			}
			own, ok := exported[base]
			if !ok {
				t.Errorf("no metric is named %s: %s", name, q)
			}
			labels = append(labels, own...)
		}
		var used []string
		for _, part := range append(matchers.FindAllStringSubmatch(text, -1), grouping.FindAllStringSubmatch(text, -1)...) {
			used = append(used, words.FindAllString(part[1], -1)...)
		}
		for _, label := range used {
			if !slices.Contains(labels, label) {
				t.Errorf("no metric of it has a label %s: %s", label, q)
			}
		}
	}
	if asked < 50 {
		t.Errorf("only %d metrics are used: the expressions were not found", asked)
	}
}
