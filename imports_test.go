package tokenbroker_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The borders of docs/design.md §2, over all that a package pulls in: what depguard
// cannot see because it looks at one file's imports at a time. A path that ends with $ stands for
// that package without those below it.
func TestImportBorders(t *testing.T) {
	const (
		gin    = "github.com/gin-gonic"
		badger = "github.com/dgraph-io"
		nats   = "github.com/nats-io"
		etcd   = "go.etcd.io/etcd"
	)
	sdk := []string{gin, badger, nats, etcd, "tokenbroker/broker", "tokenbroker/api", "tokenbroker/keyring", "tokenbroker/upstream", "tokenbroker/cmd"}
	borders := map[string][]string{
		"tokenbroker/revocation":              sdk,
		"tokenbroker/validator":               sdk,
		"tokenbroker/validator/httpauth":      sdk,
		"tokenbroker/validator/validatortest": sdk,
		"tokenbroker/validator/wsauth":        sdk,
		"tokenbroker/revocation/natsfeed":     {gin, badger, etcd, "github.com/nats-io/nats-server", "tokenbroker/broker", "tokenbroker/api", "tokenbroker/keyring"},
		"tokenbroker/revocation/httpfeed":     sdk,
		"tokenbroker/broker/receipts":         {gin, badger, nats, "tokenbroker/api", "tokenbroker/keyring", "tokenbroker/upstream", "tokenbroker/cmd", "tokenbroker/revocation/ledger", "tokenbroker/validator"},
		"tokenbroker/revocation/ledger":       {gin, badger, nats, etcd, "tokenbroker/broker", "tokenbroker/api", "tokenbroker/keyring", "tokenbroker/upstream", "tokenbroker/cmd"},
		"tokenbroker/keyring":                 {gin, badger, nats, etcd, "tokenbroker/broker", "tokenbroker/api", "tokenbroker/validator", "tokenbroker/revocation/ledger"},
		"tokenbroker/keyring/lifecycle":       {gin, badger, nats, "tokenbroker/broker", "tokenbroker/api", "tokenbroker/store", "tokenbroker/revocation", "tokenbroker/validator", "tokenbroker/internal", "github.com/go-jose", "golang.org/x/crypto", "net/http"},
		"tokenbroker/store":                   {gin, badger, nats, etcd, "tokenbroker/broker", "tokenbroker/api", "tokenbroker/keyring"},
		"tokenbroker/store/etcdstore":         {gin, badger, nats, etcd + "/server", "tokenbroker/broker", "tokenbroker/api", "tokenbroker/keyring", "tokenbroker/store/origins", "tokenbroker/store/badgerstore"},
		"tokenbroker/store/pgstore":           {gin, badger, nats, etcd, "tokenbroker/broker", "tokenbroker/api", "tokenbroker/keyring", "tokenbroker/store/origins", "tokenbroker/store/badgerstore", "tokenbroker/store/etcdstore"},
		"tokenbroker/store/origins":           {gin, badger, nats, etcd, "tokenbroker/broker", "tokenbroker/api", "tokenbroker/keyring", "tokenbroker/revocation/ledger"},
		"tokenbroker/api":                     {badger, nats, etcd, "tokenbroker/keyring$", "tokenbroker/revocation/ledger", "tokenbroker/upstream", "tokenbroker/cmd"},
	}
	// Root broker is vocabulary and ports; the use cases are above the commit path and do not know each other.
	core := []string{gin, badger, nats, etcd, "tokenbroker/api", "tokenbroker/keyring", "tokenbroker/upstream", "tokenbroker/cmd", "tokenbroker/revocation/ledger"}
	for part, above := range map[string][]string{
		"":                {"actor", "session", "credential", "directory", "commit", "issuing", "openrates", "replays", "enduser", "operator", "oauthclient", "registration"},
		"/credential":     {"actor", "directory", "commit", "issuing", "openrates", "replays", "enduser", "operator", "oauthclient", "registration"},
		"/directory":      {"actor", "credential", "commit", "issuing", "openrates", "replays", "enduser", "operator", "oauthclient", "registration"},
		"/commit":         {"credential", "issuing", "openrates", "replays", "enduser", "operator", "oauthclient", "registration"},
		"/issuing":        {"replays", "enduser", "operator", "oauthclient", "registration"},
		"/openrates":      {"actor", "commit", "credential", "directory", "session", "issuing", "replays", "enduser", "operator", "oauthclient", "registration"},
		"/replays":        {"actor", "commit", "issuing", "enduser", "operator", "oauthclient", "registration"},
		"/enduser":        {"operator", "oauthclient", "registration"},
		"/operator":       {"enduser", "credential", "oauthclient", "registration"},
		"/oauthclient":    {"enduser", "operator", "registration"},
		"/clientmetadata": {"actor", "commit", "issuing", "openrates", "replays", "enduser", "operator", "oauthclient", "registration"},
		"/registration":   {"enduser", "operator", "oauthclient"},
	} {
		forbidden := slices.Clone(core)
		for _, name := range append(above, "brokertest") {
			forbidden = append(forbidden, "tokenbroker/broker/"+name)
		}
		borders["tokenbroker/broker"+part] = forbidden
	}
	audiences := []string{"tokenbroker/api/browser", "tokenbroker/api/oauth", "tokenbroker/api/pages", "tokenbroker/api/feed", "tokenbroker/api/admin"}
	for _, pkg := range append(audiences, "tokenbroker/api/httpapi") {
		borders[pkg] = []string{gin, badger, nats, etcd, "tokenbroker/keyring$", "tokenbroker/revocation/ledger", "tokenbroker/upstream", "tokenbroker/cmd"}
		for _, other := range audiences {
			if other != pkg {
				borders[pkg] = append(borders[pkg], other)
			}
		}
	}
	// What draws is compiled only into tokenbroker-bench: it would cost each first `go run ./cmd/tokenbroker` half a minute.
	borders["tokenbroker/cmd/tokenbroker"] = []string{
		"tokenbroker/bench", "tokenbroker/cmd/tokenbroker/benchcmd", "gonum.org", "codeberg.org/go-latex", "codeberg.org/go-pdf", "codeberg.org/go-fonts",
		"git.sr.ht/~sbinet/gg", "github.com/ajstarks/svgo", "github.com/golang/freetype", "golang.org/x/image",
	}
	for _, part := range []string{"load", "curve", "report"} {
		borders["tokenbroker/bench/"+part] = append([]string{"tokenbroker/validator", "tokenbroker/revocation"}, sdk...)
	}
	touchSources(t)
	for pkg, forbidden := range borders {
		t.Run(strings.TrimPrefix(pkg, "tokenbroker/"), func(t *testing.T) {
			t.Parallel()
			deps := dependencies(t, pkg, ".")
			for _, dep := range deps {
				for _, prefix := range forbidden {
					exact, isExact := strings.CutSuffix(prefix, "$")
					if dep == exact || !isExact && strings.HasPrefix(dep, prefix+"/") {
						t.Errorf("%s depends on %s", pkg, dep)
					}
				}
			}
		})
	}
}

// TestChangesBeginInExistingFiles: the table of typical changes in CONTRIBUTING.md names files and directories of this tree.
func TestChangesBeginInExistingFiles(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "### Where a change begins\n")
	table, _, _ = strings.Cut(table, "\n## ")
	paths := regexp.MustCompile("`([a-z_/-]+(/|\\.[a-z]+|testdata))`|\\b(docs/[a-z-]+\\.md)").FindAllStringSubmatch(table, -1)
	if len(paths) < 40 {
		t.Errorf("%d paths in the table, want at least 40: this test sees too little", len(paths))
	}
	for _, p := range paths {
		if _, err := os.Stat(filepath.FromSlash(p[1] + p[3])); err != nil {
			t.Error(err)
		}
	}
}

// dependencies lists pkg and all that it imports, without its tests, as seen in the directory dir.
func dependencies(t *testing.T, pkg, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list -deps %s: %v\n%s", pkg, err, exit.Stderr)
		}
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 2 {
		t.Fatalf("go list -deps %s gave %v: this test sees nothing", pkg, deps)
	}
	return deps
}

// touchSources looks at every source file: the test cache sees what a test itself opens,
// not what go list reads, and would keep an old result.
func touchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
