package deploy_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsAreMadeOnceAndNeverOverwritten(t *testing.T) {
	root := install(t)
	first := secretsOf(t, root)
	if said, err := runSecrets(root); said != "" || err != nil {
		t.Errorf("the second run printed %q, %v, want nothing", said, err)
	}
	if !cmp.Equal(first, secretsOf(t, root)) {
		t.Error("the second run changed the secrets")
	}

	dir := filepath.Join(root, "deploy", "secrets")
	if err := os.Remove(filepath.Join(dir, "admin_token")); err != nil {
		t.Fatal(err)
	}
	if said, err := runSecrets(root); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, said)
	}
	again := secretsOf(t, root)
	if again["admin_token"] == first["admin_token"] || again["admin_token"] == "" {
		t.Error("a removed secret was not made again")
	}
	again["admin_token"] = first["admin_token"]
	if !cmp.Equal(first, again) {
		t.Error("one secret was removed and others changed")
	}
}

// A second run of `secrets.sh cluster`, after one without the argument, makes only what is missing.
func TestClusterSecretsAreAdded(t *testing.T) {
	root := install(t)
	first := secretsOf(t, root)
	for range 2 {
		if said, err := runSecrets(root, "cluster"); err != nil {
			t.Fatalf("secrets.sh: %v\n%s", err, said)
		}
	}
	if said, err := runSecrets(root, "cluster"); said != "" || err != nil {
		t.Errorf("another run printed %q, %v, want nothing", said, err)
	}
	all := secretsOf(t, root)
	for name, text := range first {
		if all[name] != text {
			t.Errorf("%s was changed", name)
		}
	}
	if all["etcd_client_cert"] == "" {
		t.Error("no certificate of the brokers for etcd")
	}
	if said, err := runSecrets(root, "clusters"); err == nil || !strings.Contains(said, "usage") {
		t.Errorf("an unknown argument: %q, %v", said, err)
	}
}

func TestSecretsAreStrongAndNotAccessibleToOthers(t *testing.T) {
	root := installedCluster(t)
	dir := filepath.Join(root, "deploy", "secrets")
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, want 0700", info.Mode().Perm())
	}
	seen := make(map[string]string)
	for name, text := range secretsOf(t, root) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o644 {
			t.Errorf("%s is %v; the containers' users read it only as 0644", name, info.Mode().Perm())
		}
		if other, ok := seen[text]; ok {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[text] = name
		if strings.HasPrefix(name, "nats.env") || name == "nats_routes" || strings.HasSuffix(name, "_cert") || strings.HasSuffix(name, "_key") {
			continue
		}
		if len(text) < 43 || strings.TrimSpace(text) != text {
			t.Errorf("%s: %d bytes, or with space around it", name, len(text))
		}
		if strings.HasPrefix(name, "nats_") && text[0] != 'p' {
			t.Errorf("%s may look like a number to nats.conf", name)
		}
	}
	kek, err := base64.StdEncoding.DecodeString(secretsOf(t, root)["kek"])
	if err != nil || len(kek) != 32 {
		t.Errorf("kek: %d bytes, %v; want 32 in base64", len(kek), err)
	}
}

func TestContradictorySecretsAreRefused(t *testing.T) {
	root := install(t)
	if err := os.Remove(filepath.Join(root, "deploy", "secrets", "nats_broker_password")); err != nil {
		t.Fatal(err)
	}
	if out, err := runSecrets(root); err == nil || !strings.Contains(out, "nats.env") {
		t.Errorf("nats.env with another password than the file: %v, %q", err, out)
	}
}

func TestSecretsStayOutOfGitAndOfTheBuild(t *testing.T) {
	if got := strings.Fields(strings.ReplaceAll(read(t, "deploy/secrets/.gitignore"), "# Everything that deploy/secrets.sh makes.", "")); !cmp.Equal(got, []string{"*", "!.gitignore"}) {
		t.Errorf("deploy/secrets/.gitignore: %q", got)
	}
	if !strings.Contains("\n"+read(t, ".dockerignore"), "\ndeploy/secrets/*\n") {
		t.Error(".dockerignore does not exclude deploy/secrets")
	}
}
