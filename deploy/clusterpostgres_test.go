package deploy_test

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/config"
)

// The two configurations of brokers differ only in the store, and those of Prometheus only in the job for etcd.
func TestClusterVariantsDifferOnlyInTheStore(t *testing.T) {
	before := func(name, mark string) string {
		text, _, ok := strings.Cut(read(t, name), mark)
		if !ok {
			t.Errorf("%s has no %q", name, mark)
		}
		_, text, _ = strings.Cut(text, "\n\n")
		return text
	}
	etcd, _, _ := strings.Cut(before("deploy/cluster/tokenbroker.yaml", "\nstore:\n"), "#  docker")
	postgres, _, _ := strings.Cut(before("deploy/cluster/tokenbroker-postgres.yaml", "# All servers"), "#  docker")
	if diff := cmp.Diff(strings.TrimSpace(etcd), strings.TrimSpace(postgres)); diff != "" {
		t.Errorf("tokenbroker.yaml (-etcd +postgres):\n%s", diff)
	}
	both := read(t, "deploy/cluster/prometheus.yml")
	if mark := "rule_files:"; !strings.Contains(both, read(t, "deploy/cluster/prometheus-postgres.yml")[strings.Index(read(t, "deploy/cluster/prometheus-postgres.yml"), mark):]) {
		t.Error("prometheus-postgres.yml has other jobs than prometheus.yml")
	}
}

func TestClusterPostgresConfigurationIsAccepted(t *testing.T) {
	root := installedCluster(t)
	project := postgresCompose(t, root)
	loaded := clusterConfig(t, root, "deploy/cluster/tokenbroker-postgres.yaml", project.Services["broker-1"])
	if loaded.Store.Engine != config.EnginePostgres || loaded.Store.Postgres.Password.Reveal() != secretsOf(t, root)["postgres_password"] || loaded.Store.Postgres.Durability != config.DurabilitySynchronous {
		t.Errorf("store: %+v", loaded.Store)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(secretsOf(t, root)["postgres_ca_cert"]))
	for _, host := range []string{"postgres-1", "postgres-2"} {
		if !strings.Contains(loaded.Store.Postgres.URL, host+":5432") || !strings.Contains(loaded.Store.Postgres.URL, "sslmode=verify-full") {
			t.Errorf("the brokers connect to %s", loaded.Store.Postgres.URL)
		}
		checkCertificate(t, filepath.Join(root, "deploy/secrets", strings.ReplaceAll(host, "-", "_")), authorities, host, x509.ExtKeyUsageServerAuth)
	}
	once := project.Services["store-init"]
	owner := clusterConfig(t, root, "deploy/cluster/tokenbroker-postgres.yaml", once)
	if owner.Store.Postgres.URL != loaded.Store.Postgres.URL { // the file; the variables override it
		t.Error("store-init has another configuration")
	}
	own := strings.Replace(loaded.Store.Postgres.URL, "tokenbroker@", "tokenbroker_owner@", 1)
	if got, want := *once.Environment["TOKENBROKER_STORE_POSTGRES_URL"], strings.Replace(own, filepath.Join(root, "deploy/secrets"), "/run/secrets", 1); got != want {
		t.Errorf("store-init connects to %s, want %s", got, want)
	}
	if !slices.Equal(once.Command, []string{"store", "init", "--config", "/etc/tokenbroker/tokenbroker.yaml", "--role", "tokenbroker"}) {
		t.Errorf("store-init runs %q", once.Command)
	}
	for _, name := range three("broker") {
		for _, secret := range project.Services[name].Secrets {
			if strings.HasPrefix(secret.Source, "postgres_") && secret.Source != "postgres_ca_cert" && secret.Source != "postgres_password" {
				t.Errorf("%s gets %s", name, secret.Source)
			}
		}
	}
}

// The scripts are accepted by bash, and postgres.sh is executable, because it is an entrypoint.
func TestScriptsAreValid(t *testing.T) {
	installed(t)
	for _, file := range []string{"secrets.sh", "cluster/postgres.sh"} {
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o111 != 0o111 {
			t.Errorf("%s is not executable: %v", file, err)
		}
	}
}
