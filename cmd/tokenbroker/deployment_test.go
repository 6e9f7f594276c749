package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
)

var outage = flag.Duration("outage", longtest.Pick(5*time.Second, time.Minute), "how long TestDeployment keeps NATS away")

// deployment is what docker-compose.yml describes, each part a process on this machine: the
// same configuration files, secrets and rights.
type deployment struct {
	dir, issuer, config          string
	natsURL                      string
	natsBinary, serviceBinary    string
	nats, broker                 *process
	services                     map[string]*process
	serviceURLs                  map[string]string
	brokerPort, adminPort, nPort string
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	ports := freeport.Take(t, 5)
	d := &deployment{
		dir: t.TempDir(), issuer: "http://127.0.0.1:" + ports[0], brokerPort: ports[0], adminPort: ports[1], nPort: ports[2],
		natsURL: "nats://127.0.0.1:" + ports[2], services: map[string]*process{},
		serviceURLs:   map[string]string{"service-a": "http://127.0.0.1:" + ports[3], "service-b": "http://127.0.0.1:" + ports[4]},
		natsBinary:    buildProgram(t, "nats-server", "github.com/nats-io/nats-server/v2"),
		serviceBinary: buildProgram(t, "service", "tokenbroker/examples/service"),
	}
	if err := os.CopyFS(filepath.Join(d.dir, "deploy"), os.DirFS("../../deploy")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bash", filepath.Join(d.dir, "deploy", "secrets.sh")).CombinedOutput(); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	d.config = d.rewrite(t, "tokenbroker.yaml",
		"public_url: http://127.0.0.1:8080", "public_url: "+d.issuer,
		"data_dir: /var/lib/tokenbroker", "data_dir: "+filepath.Join(d.dir, "data"),
		"listen: 0.0.0.0:8080", "listen: 127.0.0.1:"+ports[0],
		"listen: 0.0.0.0:8081", "listen: 127.0.0.1:"+ports[1],
		"nats://nats:4222", d.natsURL,
		"/run/secrets/", filepath.Join(d.dir, "deploy", "secrets")+"/")
	d.startNATS(t)
	d.startBroker(t)
	for name := range d.serviceURLs {
		d.startService(t, name)
	}
	return d
}

// rewrite changes a copied file; each old text has to be there.
func (d *deployment) rewrite(t *testing.T, name string, oldnew ...string) string {
	t.Helper()
	path := filepath.Join(d.dir, "deploy", name)
	text := readFile(t, path)
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			t.Fatalf("%s has no %q", name, oldnew[i])
		}
	}
	if err := os.WriteFile(path, []byte(strings.NewReplacer(oldnew...).Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (d *deployment) secret(name string) string {
	return filepath.Join(d.dir, "deploy", "secrets", name)
}

func (d *deployment) startNATS(t *testing.T) {
	t.Helper()
	conf := filepath.Join(d.dir, "deploy", "nats.conf")
	if d.nats == nil {
		d.rewrite(t, "nats.conf", "host: 0.0.0.0", "host: 127.0.0.1", "port: 4222", "port: "+d.nPort, `http: "127.0.0.1:8222"`, `http: "127.0.0.1:-1"`)
	}
	env := strings.Fields(readFile(t, d.secret("nats.env")))
	d.nats = startProcess(t, "Server is ready", env, d.natsBinary, "--config", conf)
}

func (d *deployment) startBroker(t *testing.T) {
	t.Helper()
	d.broker = startBroker(t, "tokenbroker is ready", "serve", "--config", d.config)
}

func (d *deployment) startService(t *testing.T, name string) {
	t.Helper()
	file := strings.ReplaceAll(name, "-", "_")
	d.services[name] = startProcess(t, "listening", []string{
		"SERVICE_SECRET_FILE=" + d.secret(file+"_secret"), "NATS_PASSWORD_FILE=" + d.secret("nats_"+file+"_password"),
	}, d.serviceBinary, "-name="+name, "-client="+name, "-nats-user="+name, "-nats="+d.natsURL, "-issuer="+d.issuer,
		"-listen="+strings.TrimPrefix(d.serviceURLs[name], "http://"))
}

// operate runs an operator's command over the socket.
func (d *deployment) operate(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	if code := run(t.Context(), append(args, "--config", d.config), strings.NewReader(stdin), &out, &errs); code != terminal.ExitOK {
		t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
	}
	return out.String()
}

// everywhere waits until both services answer the token with that status.
func (d *deployment) everywhere(t *testing.T, token string, want int) {
	t.Helper()
	for name, base := range d.serviceURLs {
		eventually(t, fmt.Sprintf("%s answers %d", name, want), func() bool {
			status, _ := callHello(t, base, token)
			return status == want
		})
	}
}

// The compose file's set, with its broker and its NATS restarted in turn: nothing that was
// acknowledged is lost, and both services refuse what was logged off.
func TestDeployment(t *testing.T) {
	longtest.SkipShort(t, "builds a NATS server and restarts each process of a deployment")
	t.Parallel()
	d := deploy(t)
	d.operate(t, "correct horse battery\n", "users", "add", "ada", "--role", "staff")
	signIn := func() visit {
		t.Helper()
		v, ok := trySignInAs(d.issuer, "ada", "correct horse battery")
		if !ok {
			t.Fatal("no sign-in")
		}
		return v
	}
	logOff := func(v visit, want int) {
		t.Helper()
		status, body, _ := request(d.issuer+"/auth/logoff/", jsonBody("CSRF_token", v.csrf), v.cookie)
		if status != want {
			t.Fatalf("log-off: %d, want %d: %s", status, want, body)
		}
	}
	alive, first := signIn(), signIn()
	d.everywhere(t, alive.access, http.StatusOK)
	d.everywhere(t, first.access, http.StatusOK)
	logOff(first, http.StatusOK)
	d.everywhere(t, first.access, http.StatusUnauthorized)

	t.Log("the broker is restarted")
	d.broker.terminate(t)
	d.everywhere(t, alive.access, http.StatusOK)
	d.everywhere(t, first.access, http.StatusUnauthorized)
	d.startBroker(t)
	second := signIn()
	logOff(second, http.StatusOK)
	d.everywhere(t, alive.access, http.StatusOK)
	for _, v := range []visit{first, second} {
		d.everywhere(t, v.access, http.StatusUnauthorized)
		if status := tryRefresh(t, d.issuer, v); status != http.StatusUnauthorized {
			t.Errorf("a logged-off session refreshes: %d", status)
		}
	}

	t.Logf("NATS is away for %v", *outage)
	d.nats.kill(t)
	var during []visit
	for end := time.Now().Add(*outage); time.Now().Before(end); {
		v := signIn()
		logOff(v, http.StatusAccepted)
		d.everywhere(t, v.access, http.StatusUnauthorized)
		d.everywhere(t, alive.access, http.StatusOK)
		during = append(during, v)
	}
	if status := d.operate(t, "", "status"); !strings.Contains(status, "degraded") {
		t.Errorf("without NATS the status is not degraded:\n%s", status)
	}
	d.startNATS(t)
	eventually(t, "the broker is ready again", func() bool {
		return strings.Contains(d.operate(t, "", "healthcheck"), "ready")
	})
	eventually(t, "a log-off is broadcast again", func() bool {
		v := signIn()
		status, _, _ := request(d.issuer+"/auth/logoff/", jsonBody("CSRF_token", v.csrf), v.cookie)
		d.everywhere(t, v.access, http.StatusUnauthorized)
		return status == http.StatusOK
	})

	t.Log("a service is restarted")
	d.services["service-a"].terminate(t)
	d.startService(t, "service-a")
	for _, v := range append(during, first, second) {
		d.everywhere(t, v.access, http.StatusUnauthorized)
	}
	d.everywhere(t, alive.access, http.StatusOK)

	t.Log("the user is disabled")
	d.operate(t, "", "users", "disable", "ada", "--note", "left the company")
	d.everywhere(t, alive.access, http.StatusUnauthorized)
	if status := tryRefresh(t, d.issuer, alive); status != http.StatusUnauthorized {
		t.Errorf("a disabled user refreshes: %d", status)
	}
	for name, p := range map[string]*process{"broker": d.broker, "service-a": d.services["service-a"], "service-b": d.services["service-b"]} {
		p.terminate(t)
		if strings.Contains(p.out.String(), "correct horse") {
			t.Errorf("%s logs a password", name)
		}
	}
}
