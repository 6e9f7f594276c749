package deploy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"go.etcd.io/etcd/api/v3/version"
	"go.yaml.in/yaml/v3"

	"tokenbroker/config"
)

// three returns the names of the three services of a kind.
func three(kind string) []string {
	return []string{kind + "-1", kind + "-2", kind + "-3"}
}

// clusterCompose loads docker-compose.cluster.yml of an installation.
func clusterCompose(t *testing.T, root string) *types.Project {
	t.Helper()
	project := composeFiles(t, root, "docker-compose.cluster.yml")
	want := slices.Concat(three("broker"), three("etcd"), three("nats"), []string{"nginx", "prometheus", "service-a", "service-b"})
	slices.Sort(want)
	if got := project.ServiceNames(); !cmp.Equal(got, want) {
		t.Fatalf("services: %q", got)
	}
	return project
}

// postgresCompose loads the variant with PostgreSQL.
func postgresCompose(t *testing.T, root string) *types.Project {
	t.Helper()
	project := composeFiles(t, root, "docker-compose.cluster.yml", "docker-compose.cluster-postgres.yml")
	want := slices.Concat(three("broker"), three("nats"), []string{"nginx", "postgres-1", "postgres-2", "prometheus", "service-a", "service-b", "store-init"})
	slices.Sort(want)
	if got := project.ServiceNames(); !cmp.Equal(got, want) {
		t.Fatalf("services: %q", got)
	}
	return project
}

func TestClusterServicesAreHardened(t *testing.T) {
	project := clusterCompose(t, installedCluster(t))
	checkHardened(t, project)
	t.Run("PostgreSQL", func(t *testing.T) { checkHardened(t, postgresCompose(t, installedCluster(t))) })
	single := compose(t, installed(t))
	for name, other := range map[string]string{"nats-1": "nats", "nats-2": "nats", "nats-3": "nats", "prometheus": "prometheus"} {
		if project.Services[name].Image != single.Services[other].Image {
			t.Errorf("%s runs %s, docker-compose.yml %s", name, project.Services[name].Image, single.Services[other].Image)
		}
	}
	for _, name := range three("etcd") {
		if image := project.Services[name].Image; !strings.HasSuffix(image, ":v"+version.Version) {
			t.Errorf("%s runs %s, the tests %s", name, image, version.Version)
		}
	}
}

func TestClusterSecretsAreOnlyInFiles(t *testing.T) {
	root := installedCluster(t)
	checkSecretFiles(t, root, clusterCompose(t, root))
	checkSecretFiles(t, root, postgresCompose(t, root))
	for _, file := range []string{"docker-compose.cluster.yml", "docker-compose.cluster-postgres.yml", "deploy/cluster/postgres.sh",
		"deploy/cluster/tokenbroker-postgres.yaml", "deploy/cluster/nats.conf", "deploy/cluster/nginx.conf",
		"deploy/cluster/prometheus.yml", "deploy/cluster/tokenbroker.yaml"} {
		if regexp.MustCompile(`[0-9a-f]{24,}|[A-Za-z0-9+/]{43}=`).MatchString(read(t, file)) {
			t.Errorf("%s contains text that looks like a secret", file)
		}
	}
}

// checkSecretFiles checks that secrets are files that secrets.sh makes, that each is used, and that the environment has none.
func checkSecretFiles(t *testing.T, root string, project *types.Project) {
	t.Helper()
	made, used := secretsOf(t, root), map[string]bool{}
	for name, s := range project.Secrets {
		if s.Environment != "" || s.Content != "" || filepath.Dir(s.File) != filepath.Join(root, "deploy", "secrets") || made[filepath.Base(s.File)] == "" {
			t.Errorf("secret %s is not a file that secrets.sh makes: %+v", name, s)
		}
		if strings.HasSuffix(name, "_ca_key") {
			t.Errorf("the key of an authority is mounted: %s", name)
		}
	}
	for name, s := range project.Services {
		targets := map[string]bool{}
		for _, secret := range s.Secrets {
			used[secret.Source] = true
			targets["/run/secrets/"+filepath.Base(cmpOr(secret.Target, secret.Source))] = true
		}
		for key, value := range s.Environment {
			if strings.HasPrefix(*value, "/run/secrets/") {
				if !targets[*value] {
					t.Errorf("%s: %s=%s is not a secret of that service", name, key, *value)
				}
				continue
			}
			for secret, text := range made {
				if strings.Contains(*value, text) {
					t.Errorf("%s: %s has the secret %s", name, key, secret)
				}
			}
			if regexp.MustCompile(`(?i)passw|secret|token$`).MatchString(key) && key != "ETCD_INITIAL_CLUSTER_TOKEN" {
				t.Errorf("%s: %s: the environment may only contain names of files", name, key)
			}
		}
		for _, f := range s.EnvFiles {
			if !strings.HasPrefix(name, "nats") || f.Path != filepath.Join(root, "deploy", "secrets", "nats.env") {
				t.Errorf("%s: env_file %s", name, f.Path)
			}
		}
	}
	for name := range project.Secrets {
		if !used[name] {
			t.Errorf("no service uses the secret %s", name)
		}
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// A service is only in the networks that it needs, and the trusted proxy is nginx.
func TestClusterNetworks(t *testing.T) {
	checkNetworks(t, clusterCompose(t, installedCluster(t)), []string{"front", "metrics", "store"})
	checkNetworks(t, postgresCompose(t, installedCluster(t)), []string{"front", "metrics"})
}

func checkNetworks(t *testing.T, project *types.Project, prometheus []string) {
	t.Helper()
	for name, s := range project.Services {
		want := map[string][]string{
			"broker": {"bus", "edge", "metrics", "store"}, "etcd": {"store"}, "nats": {"bus"}, "nginx": {"edge", "front"},
			"service": {"bus", "front"}, "prometheus": prometheus, "postgres": {"store"}, "store": {"store"},
		}[kindOf(name)]
		if got := s.NetworksByPriority(); !cmp.Equal(sorted(got), want) {
			t.Errorf("%s is in the networks %q, want %q", name, got, want)
		}
		if public := slices.Contains(want, "front"); len(s.Ports) > 0 != public {
			t.Errorf("%s publishes %v", name, s.Ports)
		}
	}
	for _, name := range []string{"bus", "store", "metrics"} {
		if !project.Networks[name].Internal {
			t.Errorf("the network %s has access to others", name)
		}
	}
	conf := read(t, "deploy/cluster/nginx.conf")
	for _, name := range three("broker") {
		s := project.Services[name]
		if server := "server " + s.Networks["edge"].Ipv4Address + ":8080 "; strings.Count(conf, server) != 1 {
			t.Errorf("nginx.conf has no %q", server)
		}
		if s.Hostname != name {
			t.Errorf("%s has the host name %q, which is its store.broker_name", name, s.Hostname)
		}
		if len(s.Tmpfs) != 1 || len(s.Volumes) != 1 {
			t.Errorf("%s keeps data: %v %v", name, s.Tmpfs, s.Volumes)
		}
	}
	if want := "trusted_proxies: [" + project.Services["nginx"].Networks["edge"].Ipv4Address + "]"; !strings.Contains(read(t, "deploy/cluster/tokenbroker.yaml"), want) {
		t.Errorf("tokenbroker.yaml has no %s", want)
	}
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

// clusterConfig loads the configuration of a broker as its container sees it.
func clusterConfig(t *testing.T, root, name string, broker types.ServiceConfig) *config.Config {
	t.Helper()
	text := read(t, name)
	for _, s := range broker.Secrets {
		text = strings.ReplaceAll(text, "/run/secrets/"+s.Source, filepath.Join(root, "deploy", "secrets", s.Source))
	}
	if strings.Contains(text, "/run/secrets/") {
		t.Errorf("%s names a secret that the container does not get", name)
	}
	file := filepath.Join(t.TempDir(), "tokenbroker.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Options{File: file, Environ: []string{"TOKENBROKER_DATA_DIR=/var/lib/tokenbroker", "TOKENBROKER_STORE_BROKER_NAME=" + broker.Hostname}})
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Config
}

func TestClusterConfigurationIsAccepted(t *testing.T) {
	root := installedCluster(t)
	project := clusterCompose(t, root)
	loaded := clusterConfig(t, root, "deploy/cluster/tokenbroker.yaml", project.Services["broker-1"])
	if want := []string{"https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"}; loaded.Store.Engine != config.EngineEtcd || !cmp.Equal(loaded.Store.Etcd.Endpoints, want) {
		t.Errorf("store: %+v", loaded.Store)
	}
	authorities, err := loaded.Store.Etcd.Authorities()
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range loaded.Store.Etcd.Endpoints {
		u, _ := url.Parse(endpoint)
		file := filepath.Join(root, "deploy/secrets", strings.ReplaceAll(u.Hostname(), "-", "_"))
		checkCertificate(t, file, authorities, u.Hostname(), x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	}
	checkCertificate(t, filepath.Join(root, "deploy/secrets/etcd_client"), authorities, "", x509.ExtKeyUsageClientAuth)
	for _, flag := range []string{"-issuer=" + loaded.PublicURL, "-nats=" + loaded.NATS.URL} {
		for _, name := range []string{"service-a", "service-b"} {
			if !slices.Contains(project.Services[name].Command, flag) {
				t.Errorf("%s has no %s", name, flag)
			}
		}
	}
}

// checkCertificate checks that the authorities accept a certificate for its host, if any, and for no more usages than these.
func checkCertificate(t *testing.T, file string, authorities *x509.CertPool, host string, usages ...x509.ExtKeyUsage) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(file+"_cert", file+"_key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: authorities, KeyUsages: usages[:1]}); err != nil {
		t.Errorf("%s: %v", file, err)
	}
	if !slices.Equal(pair.Leaf.ExtKeyUsage, usages) || pair.Leaf.IsCA {
		t.Errorf("%s: usages %v, authority %t", file, pair.Leaf.ExtKeyUsage, pair.Leaf.IsCA)
	}
}

func TestClusterNATSSettings(t *testing.T) {
	root := installedCluster(t)
	for line := range strings.FieldsSeq(secretsOf(t, root)["nats.env"]) {
		key, value, _ := strings.Cut(line, "=")
		t.Setenv(key, value)
	}
	t.Setenv("NATS_SERVER_NAME", "nats-2")
	opts, err := server.ProcessConfigFile(natsConfig(t, root, t.TempDir(), func(text string) string { return text }))
	if err != nil {
		t.Fatal(err)
	}
	if opts.ServerName != "nats-2" || opts.Cluster.Name != "tokenbroker" || opts.Cluster.Port != 6222 || len(opts.Users) != 3 || opts.MaxPayload != 1<<20 {
		t.Errorf("server %s, cluster %q on %d, %d users", opts.ServerName, opts.Cluster.Name, opts.Cluster.Port, len(opts.Users))
	}
	password := secretsOf(t, root)["nats_route_password"]
	if opts.Cluster.Username != "route" || opts.Cluster.Password != password {
		t.Error("routes need no password")
	}
	var hosts []string
	for _, route := range opts.Routes {
		if p, _ := route.User.Password(); p != password {
			t.Errorf("the route to %s has another password", route.Host)
		}
		hosts = append(hosts, route.Host)
	}
	if want := []string{"nats-1:6222", "nats-2:6222", "nats-3:6222"}; !cmp.Equal(hosts, want) {
		t.Errorf("routes to %q", hosts)
	}
}

// natsConfig writes the files of one NATS server, changed by a function, and returns the name of the first one.
func natsConfig(t *testing.T, root, dir string, change func(string) string) string {
	t.Helper()
	for to, from := range map[string]string{"cluster.conf": "deploy/cluster/nats.conf", "tokenbroker.conf": "deploy/nats.conf", "routes.conf": "deploy/secrets/nats_routes"} {
		raw, err := os.ReadFile(filepath.Join(root, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), []byte(change(string(raw))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cluster.conf")
}

func TestClusterPrometheusReadsAllParts(t *testing.T) {
	var scrape struct {
		Configs []struct {
			Job    string `yaml:"job_name"`
			Static []struct{ Targets []string }
		} `yaml:"scrape_configs"`
	}
	text := strings.ReplaceAll(read(t, "deploy/cluster/prometheus.yml"), "static_configs", "static")
	if err := yaml.Unmarshal([]byte(text), &scrape); err != nil {
		t.Fatal(err)
	}
	root := installedCluster(t)
	project := clusterCompose(t, root)
	loaded := clusterConfig(t, root, "deploy/cluster/tokenbroker.yaml", project.Services["broker-1"])
	targets := map[string][]string{}
	for _, job := range scrape.Configs {
		targets[job.Job] = job.Static[0].Targets
	}
	want := map[string][]string{}
	for i, host := range loaded.Admin.Hosts {
		want["tokenbroker"] = append(want["tokenbroker"], host+loaded.Admin.Listen[strings.LastIndex(loaded.Admin.Listen, ":"):])
		want["etcd"] = append(want["etcd"], fmt.Sprintf("etcd-%d:2381", i+1))
	}
	if diff := cmp.Diff(want, targets); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(root, "deploy/secrets/brokers_tls_cert"), filepath.Join(root, "deploy/secrets/brokers_tls_key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range loaded.Admin.Hosts {
		if err := certificate.Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}
