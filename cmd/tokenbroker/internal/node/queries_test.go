package node_test

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.yaml.in/yaml/v3"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/memstore"
	"tokenbroker/store/pgstore"
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

// asked are the expressions of a file in deploy, and the kinds of brokers of which one has to export what they use.
type asked struct {
	file    string
	brokers []string
	least   int // uses of metrics, so that the expressions were found
}

// queries returns the expressions of a file with alerts or a dashboard, without duplicates.
func queries(t *testing.T, name string) []string {
	t.Helper()
	raw, err := os.ReadFile("../../../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct { // alerts are YAML, dashboards JSON
		Groups     []struct{ Rules []struct{ Expr string } }
		Panels     []struct{ Targets []struct{ Expr string } }
		Templating struct {
			List []struct{ Query any }
		}
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all[r.Expr] = true
		}
	}
	for _, p := range file.Panels {
		for _, target := range p.Targets {
			all[target.Expr] = true
		}
	}
	for _, v := range file.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			all[q["query"].(string)] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// onEtcd and onPostgres add to an engine in memory what a broker asks etcd and PostgreSQL for.
type onEtcd struct{ *memstore.Handle }

func (onEtcd) Full() bool { return false }

func (onEtcd) Members(context.Context) []etcdstore.Member {
	return []etcdstore.Member{{Endpoint: "a", HasLeader: true, Version: "3.6.0", Size: 20, InUse: 10, Quota: 100, Alarms: []string{"CORRUPT"}}}
}

type onPostgres struct{ *memstore.Handle }

func (onPostgres) Full() bool { return false }

func (onPostgres) Health(context.Context) (pgstore.Health, error) {
	return pgstore.Health{
		Version: "16.1", Durability: "synchronous", Visible: true, InUse: 3, Idle: 2, Max: 16, DeadRows: 40,
		Standbys: []pgstore.Standby{{Name: "s", Sync: "sync", LagBytes: 5}, {Name: "s", Sync: "potential", LagBytes: 7}},
	}, nil
}

// startShared starts a broker on an engine that several brokers may share.
func (l *lab) startShared(engine store.Engine) {
	l.t.Helper()
	l.startNATS()
	c := l.config()
	c.PublicURL, c.Name, c.Engine, c.KEK = "http://"+l.listen, "a", engine, make(keyring.KEK, keyring.KEKSize)
	n, err := node.Start(l.t.Context(), c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.node = n
	l.t.Cleanup(func() { _ = n.Close() })
}

var (
	metricName = regexp.MustCompile(`\b(?:tokenbroker|process|go)_\w+`)
	quoted     = regexp.MustCompile(`"[^"]*"`)
	matchers   = regexp.MustCompile(`\{([^}]*)\}`)
	grouping   = regexp.MustCompile(`\b(?:by|on|without|ignoring)\s*\(([^)]*)\)`)
	words      = regexp.MustCompile(`\w+`)
)

// TestRulesAndDashboardsUseExportedMetrics checks that brokers export each metric and each label that the alerts and the
// dashboards use.
func TestRulesAndDashboardsUseExportedMetrics(t *testing.T) {
	embedded, etcd, postgres := newLab(t), newLab(t), newLab(t)
	embedded.startNATS()
	embedded.startBroker()
	etcd.startShared(onEtcd{memstore.NewEngine(nil).Open(nil)})
	postgres.startShared(onPostgres{memstore.NewEngine(nil).Open(nil)})
	exported := map[string]map[string][]string{"embedded": embedded.described(), "etcd": etcd.described(), "postgres": postgres.described()}
	for name := range exported["embedded"] {
		if strings.HasPrefix(name, "tokenbroker_etcd_") || strings.HasPrefix(name, "tokenbroker_postgres_") || strings.HasPrefix(name, "tokenbroker_cluster_") {
			t.Errorf("a broker with a store of its own exports %s", name)
		}
	}
	eventually(t, "the state of the servers is exported", func() bool {
		return strings.Contains(etcd.scrape(), "\ntokenbroker_etcd_alarms{alarm=\"CORRUPT\"} 1\n") &&
			strings.Contains(postgres.scrape(), "\ntokenbroker_postgres_standby_lag_bytes{standby=\"s\"} 7\n")
	})
	for _, l := range []*lab{etcd, postgres} {
		if problems, err := promlint.New(strings.NewReader(l.scrape())).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("the metrics: %v, %v", problems, err)
		}
	}
	for _, a := range []asked{
		{"grafana/tokenbroker.json", []string{"embedded"}, 30},
		{"grafana/tokenbroker-cluster.json", []string{"etcd", "postgres"}, 40},
		{"alerts.yaml", []string{"embedded", "etcd", "postgres"}, 35},
	} {
		all := map[string][]string{}
		for _, kind := range a.brokers {
			maps.Copy(all, exported[kind])
		}
		if n := useExported(t, a.file, all); n < a.least {
			t.Errorf("only %d metrics are used by %s: the expressions were not found", n, a.file)
		}
	}
}

// useExported checks the expressions of a file, and returns how often they use a metric.
func useExported(t *testing.T, file string, exported map[string][]string) (used int) {
	t.Helper()
	raw, err := os.ReadFile("../../../../docs/operate.md") // a metric without observations has no type in a scrape
	if err != nil {
		t.Fatal(err)
	}
	documented := string(raw)
	for _, q := range queries(t, file) {
		text := quoted.ReplaceAllString(q, `""`)
		labels := []string{"job", "instance"} // those of the scrape
		for _, name := range metricName.FindAllString(text, -1) {
			used++
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if b, ok := strings.CutSuffix(name, suffix); ok && strings.Contains(documented, "| `"+b+"` | histogram |") {
					base, labels = b, append(labels, "le")
				}
			}
			own, ok := exported[base]
			if !ok {
				t.Errorf("%s: no metric is named %s: %s", file, name, q)
			}
			labels = append(labels, own...)
		}
		var named []string
		for _, part := range append(matchers.FindAllStringSubmatch(text, -1), grouping.FindAllStringSubmatch(text, -1)...) {
			named = append(named, words.FindAllString(part[1], -1)...)
		}
		for _, label := range named {
			if !slices.Contains(labels, label) {
				t.Errorf("%s: no metric of it has a label %s: %s", file, label, q)
			}
		}
	}
	return used
}
