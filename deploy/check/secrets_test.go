package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// secretFiles makes the secrets of deploy/secrets.sh and returns their directory, with the authority of NATS.
func secretFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile("../secrets.sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets.sh"), script, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "bash", filepath.Join(dir, "secrets.sh"), "cluster").CombinedOutput(); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	secrets := filepath.Join(dir, "secrets")
	authority, err := os.ReadFile(filepath.Join(secrets, "etcd_ca_cert"))
	if err != nil {
		t.Fatal(err)
	}
	// That of the operator's own NATS server.
	if err := os.WriteFile(filepath.Join(secrets, "nats_ca_cert"), authority, 0o600); err != nil {
		t.Fatal(err)
	}
	return secrets
}
