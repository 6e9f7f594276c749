// Package deploy_test checks this directory, Dockerfile and the docker-compose files without Docker: it parses
// the files, creates the secrets, starts the NATS server, and runs what docker-compose.cluster.yml runs as processes.
package deploy_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	runProgram()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		for _, dir := range templates {
			if err := os.RemoveAll(dir); err != nil && code == 0 {
				code = 1
			}
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

// templates are the installations that tests share and must not change. TestMain removes them.
var templates []string

// template makes an installation with the secrets that secrets.sh makes with these arguments.
func template(args ...string) (root string, err error) {
	if root, err = os.MkdirTemp("", "tokenbroker-deploy-*"); err != nil {
		return "", err
	}
	templates = append(templates, root)
	files, err := filepath.Glob("cluster/*")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"docker-compose.yml", "docker-compose.cluster.yml", "docker-compose.cluster-postgres.yml",
		"deploy/nats.conf", "deploy/prometheus.yml", "deploy/alerts.yaml", "deploy/tokenbroker.yaml", "deploy/secrets.sh"} {
		files = append(files, filepath.Join("..", name))
	}
	for _, file := range files {
		to := filepath.Join(root, "deploy", file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(to, raw, 0o755); err != nil {
			return "", err
		}
	}
	if said, err := runSecrets(root, args...); err != nil {
		return "", fmt.Errorf("secrets.sh: %w\n%s", err, said)
	}
	return root, nil
}

var (
	makeTemplate        = sync.OnceValues(func() (root string, err error) { return template() })
	makeClusterTemplate = sync.OnceValues(func() (root string, err error) { return template("cluster") })
)

// installed returns the root of an installation after deploy/secrets.sh: docker-compose.yml, this
// directory and the secrets. It is shared and must not be changed.
func installed(t *testing.T) (root string) {
	t.Helper()
	return made(t, makeTemplate)
}

// installedCluster is like installed, but after `deploy/secrets.sh cluster`.
func installedCluster(t *testing.T) (root string) {
	t.Helper()
	return made(t, makeClusterTemplate)
}

func made(t *testing.T, template func() (string, error)) string {
	t.Helper()
	for _, program := range []string{"bash", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	root, err := template()
	if err != nil {
		t.Fatal(err)
	}
	return root
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
func runSecrets(root string, args ...string) (string, error) {
	out, err := exec.Command("bash", append([]string{filepath.Join(root, "deploy", "secrets.sh")}, args...)...).CombinedOutput()
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
