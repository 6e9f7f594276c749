package deploy_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"tokenbroker/internal/freeport"
)

// clusterSet runs what a compose project runs, as processes of this machine: the same programs, arguments, variables and
// configuration files, with other addresses and paths.
type clusterSet struct {
	t         *testing.T // the processes end with it
	root      string     // of the installation
	programs  string     // directory of the binaries of this module
	dir       string     // has the brokers' data
	project   *types.Project
	addresses map[string]string // by service:port, as broker-1:8080
	processes map[string]*process
	postgres  map[string]string // directories of the PostgreSQL servers
}

// ports are those at which the services of a kind listen.
var ports = map[string][]string{
	"etcd": {"2379", "2380", "2381"}, "nats": {"4222", "6222", "8222"}, "broker": {"8080", "8081"},
	"postgres": {"5432"}, "nginx": {"8080", "8088"}, "service": {"8082"}, "prometheus": {"9090"},
}

// buildPrograms builds the binaries of this module as the image has them.
func buildPrograms(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-tags", "nodev", "-o", dir+"/", "./cmd/tokenbroker", "./examples/service")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

func newClusterSet(t *testing.T, programs, root string, project *types.Project) *clusterSet {
	t.Helper()
	s := &clusterSet{t: t, root: root, programs: programs, dir: t.TempDir(), project: project, addresses: map[string]string{}, processes: map[string]*process{}, postgres: map[string]string{}}
	for _, name := range project.ServiceNames() {
		for _, port := range ports[kindOf(name)] {
			s.addresses[name+":"+port] = "127.0.0.1:" + freeport.Take(t, 1)[0]
		}
	}
	return s
}

// kindOf returns nats for nats-1.
func kindOf(service string) string { return strings.SplitN(service, "-", 2)[0] }

// local returns text of a service with the addresses and paths of this machine.
func (s *clusterSet) local(service, text string) string {
	text = strings.ReplaceAll(text, "http://127.0.0.1:8080", s.issuer()) // published by nginx
	for _, port := range ports[kindOf(service)] {
		own := s.addresses[service+":"+port]
		_, number, _ := strings.Cut(own, ":")
		text = strings.NewReplacer("0.0.0.0:"+port, own, "127.0.0.1:"+port, own, "port: "+port+"\n", "port: "+number+"\n",
			"listen "+port+";", "listen "+own+";").Replace(text)
	}
	for name, config := range s.project.Services {
		if edge := config.Networks["edge"]; edge != nil {
			text = strings.ReplaceAll(text, edge.Ipv4Address+":8080", s.addresses[name+":8080"])
			text = regexp.MustCompile(regexp.QuoteMeta(edge.Ipv4Address)+`\b`).ReplaceAllString(text, "127.0.0.1")
		}
	}
	for address, local := range s.addresses {
		text = strings.ReplaceAll(text, address, local)
	}
	for _, secret := range s.project.Services[service].Secrets {
		text = regexp.MustCompile("/run/secrets/"+filepath.Base(cmpOr(secret.Target, secret.Source))+`\b`).
			ReplaceAllString(text, filepath.Join(s.root, "deploy/secrets", filepath.Base(s.project.Secrets[secret.Source].File)))
	}
	return strings.NewReplacer("host: 0.0.0.0\n", "host: 127.0.0.1\n",
		"hosts: [broker-1, broker-2, broker-3]", "hosts: [127.0.0.1]", "scrape_interval: 15s", "scrape_interval: 1s", "scrape_timeout: 5s", "scrape_timeout: 1s").Replace(text)
}

func (s *clusterSet) issuer() string { return "http://" + s.addresses["nginx:8080"] }

// configFile writes the file that is mounted at target in a service, and returns its name.
func (s *clusterSet) configFile(service, target string) string {
	s.t.Helper()
	for _, v := range s.project.Services[service].Volumes {
		if v.Target != target {
			continue
		}
		raw, err := os.ReadFile(v.Source)
		if err != nil {
			s.t.Fatal(err)
		}
		file := filepath.Join(s.t.TempDir(), filepath.Base(target))
		if err := os.WriteFile(file, []byte(s.local(service, string(raw))), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return file
	}
	s.t.Fatalf("%s has nothing mounted at %s", service, target)
	return ""
}

// environment returns the variables of a service.
func (s *clusterSet) environment(service string) (env []string) {
	for key, value := range s.project.Services[service].Environment {
		env = append(env, key+"="+s.local(service, *value))
	}
	return env
}

// start starts the process of a service and does not wait until it is healthy.
func (s *clusterSet) start(service string) {
	s.t.Helper()
	config, env, self := s.project.Services[service], s.environment(service), os.Args[0]
	args := slices.Clone([]string(config.Command))
	for i, arg := range args {
		args[i] = s.local(service, arg)
	}
	switch kindOf(service) {
	case "etcd":
		env = append(env, programEnv+"=etcd", "ETCD_DATA_DIR="+s.t.TempDir(), "ETCD_LOG_LEVEL=warn")
	case "postgres":
		s.startPostgres(service, "postgres-1", config.Entrypoint[1])
		return
	case "store":
		self = filepath.Join(s.programs, "tokenbroker")
		env = append(env, "TOKENBROKER_DATA_DIR="+s.data(service), "TOKENBROKER_STORE_BROKER_NAME="+config.Hostname)
		args[slices.Index(args, "--config")+1] = s.configFile(service, "/etc/tokenbroker/tokenbroker.yaml")
	case "nats":
		env = append(env, strings.Fields(secretsOf(s.t, s.root)["nats.env"])...)
		env = append(env, programEnv+"=nats-server")
		args = []string{"--config", natsConfig(s.t, s.root, s.t.TempDir(), func(text string) string { return s.local(service, text) })}
	case "broker":
		self = filepath.Join(s.programs, "tokenbroker")
		env = append(env, "TOKENBROKER_DATA_DIR="+s.data(service), "TOKENBROKER_STORE_BROKER_NAME="+config.Hostname)
		args = []string{"serve", "--config", s.configFile(service, "/etc/tokenbroker/tokenbroker.yaml")}
	case "nginx":
		self, args = findProgram(s.t, "nginx"), slices.Clone(config.Entrypoint[1:])
		file, dir := s.configFile(service, "/etc/nginx/nginx.conf"), s.t.TempDir()
		raw, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), " /tmp/", " "+dir+"/")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		// In one process, so that no worker is left when it is killed.
		args = append([]string{"-g", args[1] + " master_process off;"}, "-p", dir, "-e", "stderr", "-c", file)
	case "service":
		self = filepath.Join(s.programs, "service")
	case "prometheus":
		self = findProgram(s.t, "prometheus")
		file := s.configFile(service, "/etc/prometheus/prometheus.yml")
		alerts := s.configFile(service, "/etc/prometheus/alerts.yaml")
		for i := range args {
			args[i] = strings.NewReplacer("/etc/prometheus/prometheus.yml", file, "=/prometheus", "="+s.t.TempDir()).Replace(args[i])
		}
		if err := os.Rename(alerts, filepath.Join(filepath.Dir(file), "alerts.yaml")); err != nil {
			s.t.Fatal(err)
		}
		args = append(args, "--web.listen-address="+s.addresses[service+":9090"])
	}
	s.processes[service] = startProcess(s.t, service, env, self, args...)
}

func (s *clusterSet) data(broker string) string { return filepath.Join(s.dir, broker) }

// healthURL returns the URL whose 2xx means that a service is healthy, as its health check in the compose file does.
func (s *clusterSet) healthURL(service string) string {
	at := map[string]string{"etcd": "2381/health", "nats": "8222/healthz", "broker": "8080/readyz", "nginx": "8088/", "service": "8082/healthz", "prometheus": "9090/-/ready"}[kindOf(service)]
	port, path, _ := strings.Cut(at, "/")
	return "http://" + s.addresses[service+":"+port] + "/" + path
}

// healthy reports whether a service is healthy, or has ended without an error if it runs once.
func (s *clusterSet) healthy(client *http.Client, service string) bool {
	p := s.processes[service]
	if service == "store-init" && p.ended() && p.cmd.ProcessState.Success() {
		return true
	}
	if p.ended() {
		s.t.Fatalf("%s has ended", service)
	}
	switch kindOf(service) {
	case "store":
		return false
	case "postgres":
		return s.postgresReady(service)
	}
	resp, err := client.Get(s.healthURL(service))
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode/100 == 2
}

// startAll starts all services, each when those that it depends on are healthy.
func (s *clusterSet) startAll() {
	s.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	healthy := map[string]bool{}
	eventually(s.t, "all services are healthy", func() bool {
		for name, config := range s.project.Services {
			waits := slices.ContainsFunc(config.GetDependencies(), func(d string) bool { return !healthy[d] })
			switch {
			case healthy[name] || waits:
			case s.processes[name] == nil:
				s.start(name)
			default:
				healthy[name] = s.healthy(client, name)
			}
		}
		return len(healthy) >= len(s.project.Services) && !slices.Contains(boolValues(healthy), false)
	})
}

func boolValues(m map[string]bool) (values []bool) {
	for _, v := range m {
		values = append(values, v)
	}
	return values
}

// operate runs an operator's command at a broker, over its socket.
func (s *clusterSet) operate(broker, stdin string, args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.programs, "tokenbroker"), append(args, "--data-dir", s.data(broker))...)
	cmd.Stdin = bytes.NewReader([]byte(stdin))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v at %s: %v: %s", args, broker, err, out)
	}
}
