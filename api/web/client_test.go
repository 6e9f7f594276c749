package web_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tokenbroker/api/web"
)

// patience bounds a run of Node.js that hangs.
const patience = 2 * time.Minute

// node runs a file of testdata together with client.js. It skips the test where Node.js is not
// installed; CI installs it.
func node(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("Node.js is not installed")
		}
		t.Skip("Node.js is not installed")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	source, err := web.Files.ReadFile("client.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client.mjs"), source, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("node %v: %v\n%s", args, err, out)
	}
}

// TestClient runs the tests of client.js that need no browser.
func TestClient(t *testing.T) { node(t, "--test", "client.test.mjs") }

// TestClientOnAServer imports client.js without a browser: it fails if that throws or keeps the
// process alive.
func TestClientOnAServer(t *testing.T) { node(t, "server.mjs") }
