// Package deploy_test checks this directory, Dockerfile and docker-compose.yml without Docker: it parses
// the files, creates the secrets and starts the NATS server.
package deploy_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(template); err != nil && code == 0 {
			code = 1
		}
		os.Exit(code)
	}))
}

// drainSeconds is the maximum time in which the broker drains. The supervisor that stops it must wait
// longer.
const drainSeconds = 7

// read returns a file of the repository, by its path from the root.
func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// template is an installation that tests share and must not change. TestMain removes it.
var template string

var makeTemplate = sync.OnceValues(func() (said string, err error) {
	if template, err = os.MkdirTemp("", "tokenbroker-deploy-*"); err != nil {
		return "", err
	}
	for _, name := range []string{"docker-compose.yml", "deploy/nats.conf", "deploy/prometheus.yml", "deploy/alerts.yaml",
		"deploy/tokenbroker.yaml", "deploy/secrets.sh"} {
		to := filepath.Join(template, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		raw, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(to, raw, 0o755); err != nil {
			return "", err
		}
	}
	return runSecrets(template)
})

// installed returns the root of an installation after deploy/secrets.sh: docker-compose.yml, this
// directory and the secrets. It is shared and must not be changed.
func installed(t *testing.T) (root string) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	if said, err := makeTemplate(); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, said)
	}
	return template
}

// install returns a separate installation for the test.
func install(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	if err := os.CopyFS(root, os.DirFS(installed(t))); err != nil {
		t.Fatal(err)
	}
	return root
}

// runSecrets runs secrets.sh of an installation and returns its output.
func runSecrets(root string) (string, error) {
	out, err := exec.Command("bash", filepath.Join(root, "deploy", "secrets.sh")).CombinedOutput()
	return string(out), err
}

// secretsOf returns the secrets of an installation by file name.
func secretsOf(t *testing.T, root string) map[string]string {
	t.Helper()
	dir := os.DirFS(filepath.Join(root, "deploy", "secrets"))
	secrets := make(map[string]string)
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(dir, path)
		secrets[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return secrets
}
