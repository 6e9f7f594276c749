package deploy_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// compose loads docker-compose.yml of an installation as Docker does.
func compose(t *testing.T, root string) *types.Project {
	t.Helper()
	project := composeFiles(t, root, "docker-compose.yml")
	if got := project.ServiceNames(); !cmp.Equal(got, []string{"broker", "nats", "prometheus", "service-a", "service-b"}) {
		t.Fatalf("services: %q", got)
	}
	return project
}

// composeFiles loads files of an installation as one project.
func composeFiles(t *testing.T, root string, files ...string) *types.Project {
	t.Helper()
	paths := make([]string, len(files))
	for i, file := range files {
		paths[i] = filepath.Join(root, file)
	}
	options, err := cli.NewProjectOptions(paths, cli.WithWorkingDirectory(root), cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeServicesAreHardened(t *testing.T) {
	checkHardened(t, compose(t, installed(t)))
}

// checkHardened checks what each service of a project must have.
func checkHardened(t *testing.T, project *types.Project) {
	pinned := regexp.MustCompile(`^([a-z/.]+:v?\d+\.\d+\.\d+|postgres:\d+\.\d+)(-alpine)?$`)
	for name, s := range project.Services {
		t.Run(name, func(t *testing.T) {
			if s.Image != "tokenbroker:local" && !pinned.MatchString(s.Image) {
				t.Errorf("image %s: not pinned to a version", s.Image)
			}
			if !s.ReadOnly || s.Privileged || len(s.CapAdd) > 0 || !slices.Equal(s.CapDrop, []string{"ALL"}) {
				t.Errorf("read_only %t, privileged %t, cap_add %q, cap_drop %q", s.ReadOnly, s.Privileged, s.CapAdd, s.CapDrop)
			}
			if !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
				t.Errorf("security_opt %q", s.SecurityOpt)
			}
			if s.NetworkMode != "" && s.NetworkMode != "default" || s.Pid != "" || s.Ipc != "" {
				t.Errorf("shares a namespace: %q %q %q", s.NetworkMode, s.Pid, s.Ipc)
			}
			for _, p := range s.Ports {
				if p.HostIP != "127.0.0.1" {
					t.Errorf("port %s is published on %q", p.Published, p.HostIP)
				}
			}
			once := name == "store-init" // ends
			if !once && (s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD") {
				t.Errorf("health check %+v: want one without a shell", s.HealthCheck)
			}
			if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= drainSeconds*time.Second {
				t.Errorf("stop_grace_period %v is within the drain's time", s.StopGracePeriod)
			}
			for dependency, d := range s.DependsOn {
				if d.Condition != types.ServiceConditionHealthy && (dependency != "store-init" || d.Condition != types.ServiceConditionCompletedSuccessfully) {
					t.Errorf("does not wait until %s is healthy", dependency)
				}
			}
			for _, v := range s.Volumes {
				if v.Type != types.VolumeTypeBind {
					continue
				}
				if !v.ReadOnly {
					t.Errorf("%s is mounted for writing", v.Source)
				}
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("a mounted file does not exist: %v", err)
				}
			}
		})
	}
}

func TestComposeSecretsAreOnlyInFiles(t *testing.T) {
	root := installed(t)
	project, made := compose(t, root), secretsOf(t, root)
	for name, s := range project.Secrets {
		if s.Environment != "" || s.Content != "" || filepath.Dir(s.File) != filepath.Join(root, "deploy", "secrets") {
			t.Errorf("secret %s is not a file of deploy/secrets: %+v", name, s)
		}
		if made[filepath.Base(s.File)] == "" {
			t.Errorf("secrets.sh does not make %s", s.File)
		}
	}
	used := make(map[string]bool)
	for name, s := range project.Services {
		for _, secret := range s.Secrets {
			used[secret.Source] = true
		}
		for key, value := range s.Environment {
			if value == nil || !strings.HasSuffix(key, "_FILE") {
				t.Errorf("%s: %s: the environment may only contain names of files", name, key)
				continue
			}
			if file, ok := strings.CutPrefix(*value, "/run/secrets/"); !ok || !slices.ContainsFunc(s.Secrets, func(c types.ServiceSecretConfig) bool { return c.Source == file }) {
				t.Errorf("%s: %s=%s is not a secret of that service", name, key, *value)
			}
		}
		for _, f := range s.EnvFiles {
			if name != "nats" || f.Path != filepath.Join(root, "deploy", "secrets", "nats.env") {
				t.Errorf("%s: env_file %s", name, f.Path)
			}
		}
	}
	for name := range project.Secrets {
		if !used[name] {
			t.Errorf("no service uses the secret %s", name)
		}
	}
	for _, file := range []string{"docker-compose.yml", "deploy/nats.conf", "deploy/prometheus.yml", "deploy/tokenbroker.yaml"} {
		if regexp.MustCompile(`[0-9a-f]{24,}|[A-Za-z0-9+/]{43}=`).MatchString(read(t, file)) {
			t.Errorf("%s contains text that looks like a secret", file)
		}
	}
}

func TestComposeServicesShareNoSecrets(t *testing.T) {
	project := compose(t, installed(t))
	conf := read(t, "deploy/nats.conf")
	for _, name := range []string{"service-a", "service-b"} {
		s, file := project.Services[name], strings.ReplaceAll(name, "-", "_")
		var secrets []string
		for _, c := range s.Secrets {
			secrets = append(secrets, c.Source)
		}
		if !cmp.Equal(secrets, []string{file + "_secret", "nats_" + file + "_password"}) {
			t.Errorf("%s sees the secrets %q", name, secrets)
		}
		if !slices.Equal(s.Entrypoint, []string{"/service"}) {
			t.Errorf("%s runs %q", name, s.Entrypoint)
		}
		for _, flag := range []string{"-name=", "-client=", "-nats-user="} {
			if !slices.Contains(s.Command, flag+name) {
				t.Errorf("%s has no %s%s: %q", name, flag, name, s.Command)
			}
		}
		if !strings.Contains(conf, "user: "+name+"\n") {
			t.Errorf("nats.conf has no user %s", name)
		}
	}
	if !project.Networks["bus"].Internal || len(project.Services["nats"].Ports) > 0 {
		t.Error("NATS, which is not encrypted here, is reachable from other networks")
	}
	if _, ok := project.Services["nats"].Networks["default"]; ok {
		t.Error("NATS is on the common network")
	}
}

func TestComposePrometheusReadsTheBroker(t *testing.T) {
	var scrape struct {
		Configs []struct {
			Path   string `yaml:"metrics_path"`
			Scheme string `yaml:"scheme"`
			TLS    struct {
				CA       string `yaml:"ca_file"`
				Insecure bool   `yaml:"insecure_skip_verify"`
			} `yaml:"tls_config"`
			Authorization struct {
				Type string `yaml:"type"`
				File string `yaml:"credentials_file"`
			} `yaml:"authorization"`
			Static []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/prometheus.yml")), &scrape); err != nil {
		t.Fatal(err)
	}
	var broker struct {
		Admin struct {
			Listen string   `yaml:"listen"`
			Hosts  []string `yaml:"hosts"`
			Token  string   `yaml:"metrics_token_file"`
			Cert   string   `yaml:"tls_cert_file"`
		} `yaml:"admin"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/tokenbroker.yaml")), &broker); err != nil {
		t.Fatal(err)
	}
	job := scrape.Configs[0]
	host, port, _ := strings.Cut(job.Static[0].Targets[0], ":")
	project := compose(t, installed(t))
	if _, ok := project.Services[host]; !ok || !slices.Contains(broker.Admin.Hosts, host) || broker.Admin.Listen != "0.0.0.0:"+port {
		t.Errorf("Prometheus connects to %s:%s, the broker accepts the hosts %q on %s", host, port, broker.Admin.Hosts, broker.Admin.Listen)
	}
	if job.Path != "/metrics" || job.Authorization.Type != "Bearer" || job.Authorization.File != broker.Admin.Token {
		t.Errorf("Prometheus requests %s with %+v, the broker's token for metrics is %s", job.Path, job.Authorization, broker.Admin.Token)
	}
	if job.Scheme != "https" || job.TLS.Insecure || job.TLS.CA != broker.Admin.Cert {
		t.Errorf("Prometheus uses %s and trusts %+v, the broker's certificate is %s", job.Scheme, job.TLS, broker.Admin.Cert)
	}
	gets := func(service, file string) bool {
		return slices.ContainsFunc(project.Services[service].Secrets, func(c types.ServiceSecretConfig) bool { return "/run/secrets/"+c.Source == file })
	}
	for _, name := range []string{"broker", "prometheus"} {
		for _, file := range []string{broker.Admin.Token, broker.Admin.Cert} {
			if !gets(name, file) {
				t.Errorf("%s does not get %s", name, file)
			}
		}
	}
	for _, file := range []string{"/run/secrets/admin_token", "/run/secrets/admin_tls_key"} {
		if gets("prometheus", file) {
			t.Errorf("Prometheus gets %s, which would permit everything", file)
		}
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(installed(t), "deploy/secrets/admin_tls_cert"), filepath.Join(installed(t), "deploy/secrets/admin_tls_key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots}); err != nil {
		t.Errorf("Prometheus does not trust the certificate: %v", err)
	}
	for _, p := range project.Services["broker"].Ports {
		if strings.HasSuffix(broker.Admin.Listen, ":"+p.Published) || p.Target == 8081 {
			t.Error("the admin listener is published")
		}
	}
}
