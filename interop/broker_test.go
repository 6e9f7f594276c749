package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds the waiting for a process. It is long, because machines that test are busy.
const patience = 2 * time.Minute

// The user of the tests.
const (
	userName = "ada"
	password = "correct horse"
)

// server is a broker as a process of its own.
type server struct {
	issuer         string
	user, password string
	ca             string  // file with its certificate as PEM, or ""
	keyFile        string  // the certificate's private key, as PEM
	log            *output // what it printed
	client         *http.Client
}

// build builds a program once for all tests, in the module of dir.
func build(t *testing.T, dir, pkg, name string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if path, ok := built[pkg]; ok {
		return path
	}
	path := filepath.Join(programs, name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	built[pkg] = path
	return path
}

var (
	builds   sync.Mutex // guards built
	built    = map[string]string{}
	programs string // the directory of the programs
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "interop-*")
	if err != nil {
		panic(err)
	}
	programs = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// startServer starts a broker with an https issuer, the user [userName] and these clients, in the form of the configuration, which may
// be followed by other sections. For other servers on 127.0.0.1, the broker trusts its own certificate.
func startServer(t *testing.T, clients string) *server {
	t.Helper()
	program, dir := build(t, "..", "./cmd/tokenbroker", "tokenbroker"), t.TempDir()
	ports := freePorts(t, 2)
	s := &server{issuer: "https://127.0.0.1:" + ports[0], user: userName, password: password}
	s.ca, s.keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert := writeCertificate(t, s.ca, s.keyFile)
	config := filepath.Join(dir, "tokenbroker.yaml")
	writeFile(t, config, strings.NewReplacer("ISSUER", s.issuer, "DIR", dir, "PORT", ports[0], "NATS", ports[1], "CLIENTS", clients).Replace(`
public_url: ISSUER
data_dir: DIR/data
listen: 127.0.0.1:PORT
tls: {cert_file: DIR/tls.crt, key_file: DIR/tls.key}
tokens: {audience: [demo-api]}
browser: {client: my-spa}
admin: {listen: ""}
nats: {listen: "127.0.0.1:NATS", service_user: services, service_password: a-password-of-services, tls_cert_file: DIR/tls.crt, tls_key_file: DIR/tls.key}
clients:
  my-spa: {public: true}
CLIENTS
`))
	s.log = start(t, "tokenbroker is ready", s.trusting(exec.Command(program, "serve", "--config", config)))
	add := exec.CommandContext(t.Context(), program, "users", "add", userName, "--config", config)
	add.Stdin = strings.NewReader(password + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("adding the user: %v\n%s", err, out)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport}
	return s
}

// trusting returns the command with an environment in which programs in Go and Node trust the server's certificate.
func (s *server) trusting(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Environ(), "SSL_CERT_FILE="+s.ca, "NODE_EXTRA_CA_CERTS="+s.ca)
	return cmd
}

// startDev starts tokenbroker dev, with its user admin. The returned URL is that of its first sample service.
func startDev(t *testing.T) (s *server, service string) {
	t.Helper()
	program, ports := build(t, "..", "./cmd/tokenbroker", "tokenbroker"), freePorts(t, 7)
	for i := range ports {
		ports[i] = "127.0.0.1:" + ports[i]
	}
	cmd := exec.Command(program, "dev", "--listen", ports[0], "--admin-listen", ports[1], "--nats-listen", ports[2], "--idp-listen", ports[3],
		"--sample-listen", strings.Join(ports[4:], ","))
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir()) // dev writes there how operators' commands find it
	log := start(t, "tokenbroker is ready", cmd)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &server{
		issuer: "http://" + ports[0], user: "admin", password: "admin", log: log, client: &http.Client{Transport: transport},
	}, "http://" + ports[4]
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a program until the test ends. It returns, with what the program prints, once that has ready.
func start(t *testing.T, ready string, cmd *exec.Cmd) *output {
	t.Helper()
	out, ended := &output{}, make(chan error, 1)
	program := cmd.Path
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(program), out)
		}
	})
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(patience); !strings.Contains(out.String(), ready); {
		select {
		case <-ticker.C:
		case err := <-ended:
			t.Fatalf("%s ended: %v\n%s", filepath.Base(program), err, out)
		case <-deadline:
			t.Fatalf("%s did not print %q", filepath.Base(program), ready)
		}
	}
	return out
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeCertificate writes a self-signed certificate of 127.0.0.1 with its key, and returns the certificate as PEM.
func writeCertificate(t *testing.T, certFile, keyFile string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, certFile, string(cert))
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return cert
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
