package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/config"
)

// docsBase is the configuration that fragments of documents are merged into.
const docsBase = `
public_url: https://auth.example.com
data_dir: /var/lib/tokenbroker
trusted_proxies: [127.0.0.1]
tokens: {audience: [my-api]}
browser: {client: web}
clients: {web: {public: true}}
`

// TestDocsConfigurations checks that `config check` accepts each yaml block of the documents, which is a
// configuration or a fragment of one.
func TestDocsConfigurations(t *testing.T) {
	etc := docsFiles(t)
	files := append([]string{"operate.md", "http.md", "migrating-from-django.md", "troubleshooting.md", "aws.md", "oauth.md"}, guides(t)...)
	for _, file := range files {
		for _, b := range fences(t, file) {
			if b.info != "yaml" {
				continue
			}
			text := docsConfiguration(t, b.text)
			path := filepath.Join(etc, "tokenbroker.yaml")
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/etc/tokenbroker", etc)), 0o600); err != nil {
				t.Fatal(err)
			}
			loaded, err := config.Load(config.Options{File: path})
			if err != nil {
				t.Errorf("%s:%d: %v", file, b.line, err)
				continue
			}
			if _, problems := setup.Build(t.Context(), loaded.Config); len(problems) > 0 {
				t.Errorf("%s:%d: %v", file, b.line, problems)
			}
		}
	}
}

// docsConfiguration returns the block if it is a whole configuration, or the base with the block's values.
func docsConfiguration(t *testing.T, text string) string {
	t.Helper()
	var whole, fragment map[string]any
	if err := yaml.Unmarshal([]byte(text), &fragment); err != nil {
		t.Fatal(err)
	}
	if fragment["public_url"] != nil {
		return text
	}
	if err := yaml.Unmarshal([]byte(docsBase), &whole); err != nil {
		t.Fatal(err)
	}
	if clients, ok := fragment["clients"].(map[string]any); ok {
		all := maps.Clone(whole["clients"].(map[string]any))
		maps.Copy(all, clients)
		fragment["clients"] = all
	}
	maps.Copy(whole, fragment)
	merged, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return string(merged)
}

// docsFiles creates a substitute for /etc/tokenbroker, with every file that the documents name.
func docsFiles(t *testing.T) string {
	t.Helper()
	etc := t.TempDir()
	secrets := filepath.Join(etc, "secrets")
	if err := os.Mkdir(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"invoices", "cognito", "corp", "nats_orders", "nats_password", "admin_token", "postgres"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte("a-secret-of-the-test-of-the-documents\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(secrets, "kek"), []byte("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pem := writeCertificate(t, filepath.Join(etc, "tls.crt"), filepath.Join(etc, "tls.key"), 1)
	if err := os.WriteFile(filepath.Join(etc, "ca.crt"), pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return etc
}

// sources returns the text of the Go files in directories of this module, without tests.
func sources(t *testing.T, dirs ...string) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources in %s: %v", dir, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				all.WriteString(readFile(t, file))
			}
		}
	}
	return all.String()
}

// found returns the first group of every match, sorted and without duplicates.
func found(pattern, text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestDocsNameEveryAuditEvent(t *testing.T) {
	code := sources(t, "broker/commit", "broker/enduser", "broker/oauthclient", "broker/operator", "broker/registration", "broker/replays", "api/admin", "cmd/tokenbroker", "cmd/tokenbroker/internal/node")
	want := found(`(?:"audit", "event", |\baudit(?:\.(?:Info|Debug|Warn))?\((?:ctx, |w, r, )?|(?:editUser|endUser|recordEnd|refuseOnPage)\(ctx, |\bevent: )"(\w+)"`, code)
	got := found("(?m)^\\| `(\\w+)` \\|", section(t, "## Logs"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operate.md's table of audit events (-code +docs):\n%s", diff)
	}
}

func TestDocsNameEveryMetric(t *testing.T) {
	want := found(`"(tokenbroker_[a-z_]+)"`, sources(t, "cmd/tokenbroker/internal/metrics", "cmd/tokenbroker/internal/node"))
	text := section(t, "## Metrics")
	got := found("(?m)^\\| `(\\w+)` \\|", text)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operate.md's table of metrics (-code +docs):\n%s", diff)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr, For string }
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "../../deploy/alerts.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	if len(rules.Groups) != 1 || len(rules.Groups[0].Rules) == 0 {
		t.Fatal("the documents have no alerts")
	}
	for _, rule := range rules.Groups[0].Rules {
		for _, code := range found(`result="(\w+)"`, rule.Expr) {
			if !strings.Contains(readFile(t, "../../docs/http.md"), "`"+code+"`") {
				t.Errorf("alert %s: no error has the code %s", rule.Alert, code)
			}
		}
	}
}

// section returns the part of operate.md from the heading to the next one of its level.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readFile(t, "../../docs/operate.md"), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("operate.md has no %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// TestDocsLinks checks that links to files and headings of this repository have a target.
func TestDocsLinks(t *testing.T) {
	anchor := regexp.MustCompile(`[^a-z0-9 _-]`)
	files := []string{"operate.md", "http.md", "spa.md", "gateways.md", "migrating-from-django.md", "troubleshooting.md", "kubernetes.md", "aws.md", "oauth.md"}
	for _, file := range append(files, guides(t)...) {
		for _, target := range found(`\]\(([^)]+)\)`, readFile(t, filepath.Join("../../docs", file))) {
			if strings.Contains(target, "://") {
				continue
			}
			path, heading, _ := strings.Cut(target, "#")
			if path == "" {
				path = filepath.Base(file)
			}
			path = filepath.Join("../../docs", filepath.Dir(file), path)
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s: %v", file, target, err)
				continue
			}
			if heading == "" {
				continue
			}
			var anchors []string
			for _, title := range found(`(?m)^#+ (.+)$`, readFile(t, path)) {
				anchors = append(anchors, strings.ReplaceAll(anchor.ReplaceAllString(strings.ToLower(title), ""), " ", "-"))
			}
			if !slices.Contains(anchors, heading) {
				t.Errorf("%s: the heading %s does not exist", file, target)
			}
		}
	}
}
