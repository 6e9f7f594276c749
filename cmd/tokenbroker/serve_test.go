package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
)

// served is `tokenbroker serve` in this process.
type served struct {
	config, dir, issuer string
	port, natsPort      string
	args                []string
	logs                *syncBuffer
	stop                context.CancelFunc
	code                chan int
}

// newServed has a configuration that `config init` wrote, changed as edit says.
func newServed(t *testing.T, scheme string, edit ...string) *served {
	t.Helper()
	ports := freePorts(t, 2)
	s := &served{dir: t.TempDir(), port: ports[0], natsPort: ports[1], issuer: scheme + "://127.0.0.1:" + ports[0]}
	s.config = filepath.Join(s.dir, "tokenbroker.yaml")
	var errs bytes.Buffer
	if code := Main(t.Context(), []string{"config", "init", s.config, "--public-url", s.issuer, "--data-dir", filepath.Join(s.dir, "data")}, io.Discard, &errs); code != terminal.ExitOK {
		t.Fatal(errs.String())
	}
	s.append(t, edit...)
	s.args = []string{"serve", "--config", s.config, "--listen", "127.0.0.1:" + s.port, "--set", "admin.listen=", "--set", "nats.listen=127.0.0.1:" + s.natsPort}
	return s
}

// append adds lines to the configuration file.
func (s *served) append(t *testing.T, lines ...string) {
	t.Helper()
	text := readFile(t, s.config) + "\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start returns once the broker is ready.
func (s *served) start(t *testing.T) *served {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.logs, s.stop, s.code = &syncBuffer{}, stop, make(chan int, 1)
	go func() { s.code <- Main(ctx, s.args, io.Discard, s.logs) }()
	t.Cleanup(stop)
	eventually(t, "serve is ready", func() bool {
		select {
		case code := <-s.code:
			t.Fatalf("serve ended with %d before it was ready:\n%s", code, s.logs.String())
		default:
		}
		return strings.Contains(s.logs.String(), "tokenbroker is ready")
	})
	return s
}

// With a certificate the operators' TCP listener speaks only TLS; commands check the
// certificate, and a reload takes over another one.
func TestOperatorsOverTLS(t *testing.T) {
	s := newServed(t, "http")
	address := "127.0.0.1:" + freePorts(t, 1)[0]
	cert, key := filepath.Join(s.dir, "admin.crt"), filepath.Join(s.dir, "admin.key")
	writeCertificate(t, cert, key, 1)
	const secret = "the-operators-token-of-this-test-0123456789"
	t.Setenv("TOKENBROKER_ADMIN_CA", "")
	s.args = append(s.args, "--set", "admin.listen="+address, "--set", "admin.tls_cert_file="+cert, "--set", "admin.tls_key_file="+key)
	t.Setenv("TOKENBROKER_ADMIN_TOKEN", secret) // it beats the server's file, and the commands read it as well
	s.start(t)
	if !strings.Contains(s.logs.String(), "admin=https://"+address) {
		t.Errorf("log: %s", s.logs.String())
	}
	status := func(args ...string) ran { return command(t, nil, append([]string{"status"}, args...)...) }
	https := "https://" + address
	if got := status("--admin", https, "--admin-ca", cert); got.code != terminal.ExitOK {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if got := status("--admin", https); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "certificate") {
		t.Errorf("a certificate of an unknown authority: exit %d: %s", got.code, got.stderr)
	}
	if got := status("--admin", "http://"+address); got.code != terminal.ExitFailed {
		t.Errorf("plain HTTP: exit %d: %s", got.code, got.stdout)
	}
	if got := status("--admin", "http://"+address, "--admin-ca", cert); got.code != terminal.ExitUsage {
		t.Errorf("authorities for plain HTTP: exit %d: %s", got.code, got.stderr)
	}
	if got := status("--admin", https, "--admin-ca", s.config); got.code != terminal.ExitFailed || !strings.Contains(got.stderr, "no certificate in PEM") {
		t.Errorf("authorities that are none: exit %d: %s", got.code, got.stderr)
	}
	s.logs.Reset()
	writeCertificate(t, cert, key, 2)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reload", func() bool { return strings.Contains(s.logs.String(), "configuration reloaded") })
	t.Setenv("TOKENBROKER_ADMIN_CA", cert)
	if got := status("--admin", https); got.code != terminal.ExitOK {
		t.Errorf("with the new certificate: exit %d: %s", got.code, got.stderr)
	}
	s.finish(t)
}

// log.level leaves the audit lines as they are, those of the operators as well; log.audit has
// the say over them.
func TestAuditLinesAreIndependentOfTheLogLevel(t *testing.T) {
	for setting, want := range map[string][]string{
		"log.audit=true":  {"event=user_add", "event=key_rotate", "event=sign_in_failed", "event=key_scheduled"},
		"log.audit=false": nil,
	} {
		t.Run(setting, func(t *testing.T) {
			s := newServed(t, "http")
			s.args = append(s.args, "--log-level", "error", "--set", setting)
			ctx, stop := context.WithCancel(t.Context())
			s.logs, s.stop, s.code = &syncBuffer{}, stop, make(chan int, 1)
			go func() { s.code <- Main(ctx, s.args, io.Discard, s.logs) }()
			t.Cleanup(stop)
			eventually(t, "serve is ready", func() bool {
				return run(t.Context(), []string{"healthcheck", "--config", s.config}, strings.NewReader(""), io.Discard, io.Discard) == terminal.ExitOK
			})
			s.operate(t, terminal.ExitOK, "users", "add", "ada")
			s.operate(t, terminal.ExitOK, "keys", "rotate", "--yes")
			resp, err := http.Post("http://127.0.0.1:"+s.port+"/auth/sign-in/", "application/json", strings.NewReader(`{"username":"ada","password":"wrong"}`))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			s.finish(t)
			for _, text := range want {
				if !strings.Contains(s.logs.String(), text) {
					t.Errorf("no %s in the log", text)
				}
			}
			if lines := strings.Count(s.logs.String(), "msg="); lines != strings.Count(s.logs.String(), "msg=audit") || want == nil && lines > 0 {
				t.Errorf("logged:\n%s", s.logs.String())
			}
		})
	}
}

// Nothing that serve writes can be read by other users, whatever the umask of its caller.
func TestServeWritesForItsOwnUser(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := newServed(t, "http").start(t)
	files := 0
	err := filepath.WalkDir(filepath.Join(s.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 8 {
		t.Errorf("%d files, %v", files, err)
	}
	s.finish(t)
}

func (s *served) finish(t *testing.T) {
	t.Helper()
	s.stop()
	select {
	case code := <-s.code:
		if code != terminal.ExitOK {
			t.Errorf("exit code %d:\n%s", code, s.logs.String())
		}
	case <-time.After(patience):
		t.Fatal("serve did not stop")
	}
}

// operate runs an operator's command and returns what it prints.
func (s *served) operate(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), append(args, "--config", s.config), strings.NewReader("correct horse\n"), &out, &errs); code != want {
		t.Fatalf("%v: exit code %d, want %d: %s%s", args, code, want, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

func TestServeRefusesEverythingThatIsWrongAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "tokenbroker.yaml")
	text := `
public_url: https://auth.example.com
data_dir: ` + dir + `/data
trusted_proxies: [10.0.0.1]
origins: ["*", "https://app.elsewhere.org"]
cookie: {secure: false}
tokens: {audience: [my-api]}
browser: {client: spa}
clients:
  spa: {public: true}
  service: {secret: demo-service-secret}
lifetmes: {access_token: 5m}
claims:
  attributes: [sub]
  computed: {plan: "user.rolez"}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	if code := Main(t.Context(), []string{"serve", "--config", file}, io.Discard, &errs); code != terminal.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	for _, key := range []string{"origins", "https://app.elsewhere.org", "cookie.secure", "clients.service.secret", "lifetmes", "lifetimes", "claims.attributes", "claims.computed.plan"} {
		if !strings.Contains(errs.String(), key) {
			t.Errorf("nothing about %s:\n%s", key, errs.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !os.IsNotExist(err) {
		t.Error("a data directory was made")
	}

	var out bytes.Buffer
	if code := Main(t.Context(), []string{"config", "check", "--config", file, "--output", "json"}, &out, io.Discard); code != terminal.ExitFailed {
		t.Errorf("config check: exit code %d", code)
	}
	var answer struct {
		OK       bool
		Problems []struct{ Key, Message string }
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.OK || len(answer.Problems) < 6 {
		t.Errorf("config check: %v, %s", err, out.String())
	}
}

func TestConfigCheckShowsWarnings(t *testing.T) {
	t.Parallel()
	s := newServed(t, "https", "cookie: {path: /auth}")
	check := func(args ...string) string {
		t.Helper()
		return s.operate(t, terminal.ExitOK, append([]string{"config", "check"}, args...)...)
	}
	text := check()
	if !strings.Contains(text, "Warning: cookie.path: ") || !strings.Contains(text, s.config+":") || !strings.HasSuffix(text, "The configuration is good.\n") {
		t.Errorf("config check: %s", text)
	}
	var answer struct {
		OK       bool
		Problems []struct{}
		Warnings []struct{ Key, Message, Hint, Source string }
	}
	if err := json.Unmarshal([]byte(check("--output", "json")), &answer); err != nil || !answer.OK || answer.Problems == nil ||
		len(answer.Warnings) != 1 || answer.Warnings[0].Key != "cookie.path" {
		t.Errorf("config check: %v, %+v", err, answer)
	}
	if text = check("--set", "cookie.path=/"); text != "The configuration is good.\n" {
		t.Errorf("config check: %s", text)
	}
}

func TestTwoBrokersDoNotShareADirectory(t *testing.T) {
	t.Parallel()
	s := newServed(t, "http").start(t)
	ports := freePorts(t, 2)
	other := append(append([]string{}, s.args...), "--listen", "127.0.0.1:"+ports[0], "--set", "nats.listen=127.0.0.1:"+ports[1],
		"--set", "admin.socket="+filepath.Join(s.dir, "other", "admin.sock"))
	var errs bytes.Buffer
	if code := Main(t.Context(), other, io.Discard, &errs); code != terminal.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(errs.String(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Errorf("says %q", errs.String())
	}
	s.operate(t, terminal.ExitOK, "users", "add", "ada") // the first one goes on
	s.finish(t)
}

// A flag that is given empty is given, and a secret on the command line is not repeated.
func TestFlagsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	s := newServed(t, "http")
	const secret = "sEcReT-tExT"
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--public-url", ""}, terminal.ExitFailed, "public_url: is missing [flag --public-url]"},
		{[]string{"--log-level="}, terminal.ExitFailed, "log.level"},
		{[]string{"--set", "admin.token:" + secret}, terminal.ExitUsage, "KEY=VALUE"},
		{[]string{"--set", "admin.token:" + secret + "=x"}, terminal.ExitFailed, "admin.token: is no key"},
		{[]string{"--set", "admin.token=" + secret}, terminal.ExitFailed, "admin.token_file"},
	} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), append([]string{"config", "check", "--config", s.config}, tt.args...), &out, &errs)
		if code != tt.code || !strings.Contains(errs.String(), tt.want) || strings.Contains(errs.String(), secret) {
			t.Errorf("%q: exit code %d: %s", tt.args, code, errs.String())
		}
	}
}

// A stop that comes while it starts is no failure.
func TestStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s := newServed(t, "http")
	for _, args := range [][]string{s.args, {"dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}} {
		if args[0] == "dev" && !developmentServer {
			continue
		}
		var errs syncBuffer
		if code := Main(ctx, args, io.Discard, &errs); code != terminal.ExitOK {
			t.Errorf("%s: exit code %d: %s", args[0], code, errs.String())
		}
	}
}

func TestServeNamesWhatIsDegradedWhenItIsReady(t *testing.T) {
	t.Parallel()
	away := freePorts(t, 2)
	s := newServed(t, "http", "providers:\n  corp: {kind: oidc, issuer: \"http://127.0.0.1:"+away[0]+"\", client_id: c}")
	s.args = append(s.args[:len(s.args)-2], "--set", "nats.url=nats://127.0.0.1:"+away[1])
	s.start(t)
	for _, want := range []string{"tokenbroker is ready, but degraded", "nats: revocations are recorded", "provider corp: does not answer"} {
		if !strings.Contains(s.logs.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, s.logs.String())
		}
	}
	s.finish(t)
	whole := newServed(t, "http").start(t)
	if strings.Contains(whole.logs.String(), "degraded") {
		t.Errorf("nothing is degraded:\n%s", whole.logs.String())
	}
	whole.finish(t)
}

func TestReloadOnSIGHUP(t *testing.T) {
	s := newServed(t, "http", `origins: ["http://127.0.0.1:5173"]`).start(t)
	hangUp := func(want string) {
		t.Helper()
		s.logs.Reset()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, want, func() bool { return strings.Contains(s.logs.String(), want) })
	}
	allowed := func(origin string) bool { return allowedOrigin(t, s.issuer+"/auth/refresh/", origin) == origin }
	if !allowed("http://127.0.0.1:5173") || allowed("http://127.0.0.1:5174") || allowed("http://localhost:5173") {
		t.Fatal("the configured origins, and no others, are not in force")
	}
	text := readFile(t, s.config)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(text, "5173", "nonsense", 1))
	hangUp("reload refused")
	if !allowed("http://127.0.0.1:5173") {
		t.Error("an invalid file changed the origins")
	}
	s.operate(t, terminal.ExitOK, "status") // finds the server by the invalid file
	write(strings.Replace(text, "5173", "5174", 1) + "log: {level: debug}\nlifetimes: {access_token: 2m}\n")
	hangUp("need a restart")
	if !strings.Contains(s.logs.String(), "lifetimes.access_token") || !strings.Contains(s.logs.String(), "configuration reloaded") {
		t.Errorf("log: %s", s.logs.String())
	}
	if allowed("http://127.0.0.1:5173") || !allowed("http://127.0.0.1:5174") {
		t.Error("the new origins are not in force")
	}
	s.logs.Reset()
	if resp, err := http.Get(s.issuer + "/livez"); err == nil {
		_ = resp.Body.Close()
	}
	eventually(t, "a debug line", func() bool { return strings.Contains(s.logs.String(), "level=DEBUG") })
	cert, key := filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key")
	writeCertificate(t, cert, key, 1)
	s.append(t, "nats: {tls_cert_file: "+cert+", tls_key_file: "+key+"}")
	for range 2 { // the first certificate needs a restart, however often it is reloaded
		hangUp("need a restart")
		if !strings.Contains(s.logs.String(), "lifetimes.access_token nats.tls_cert_file nats.tls_key_file") {
			t.Errorf("log: %s", s.logs.String())
		}
	}
	s.finish(t)
}

// With TLS files browsers get a __Host- cookie, the embedded NATS server asks services
// for their password over TLS, and a new certificate is taken over without a restart.
func TestServeOverTLS(t *testing.T) {
	s := newServed(t, "https")
	cert, key := filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(writeCertificate(t, cert, key, 1))
	s.append(t, "tls: {cert_file: "+cert+", key_file: "+key+"}",
		"nats: {service_user: services, service_password: a-password-of-services, tls_cert_file: "+cert+", tls_key_file: "+key+"}")
	s.start(t)
	s.operate(t, terminal.ExitOK, "users", "add", "ada")

	serial := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", "127.0.0.1:"+s.port, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Post(s.issuer+"/auth/sign-in/", "application/json", strings.NewReader(`{"username": "ada", "password": "correct horse"}`))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if c := resp.Header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-refresh_cookie=") || !strings.Contains(c, "; Secure") || resp.ProtoMajor != 2 {
		t.Errorf("%s, cookie %q", resp.Proto, c)
	}

	secret := regexp.MustCompile(`(?m)^    secret: (\S+)$`).FindStringSubmatch(readFile(t, s.config))
	if secret == nil {
		t.Fatal("config init made no secret for my-service")
	}
	config := validator.Config{
		Issuer: s.issuer, Audience: "my-api", Client: validator.Client{ID: "my-service", Secret: secret[1]}, HTTPClient: client,
		Feed: natsfeed.Feed{URL: "tls://127.0.0.1:" + s.natsPort, User: "services", Password: "a-password-of-services", TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}
	v, err := validator.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Validate(t.Context(), answer.AccessToken); err != nil {
		t.Error(err)
	}
	checkServiceRights(t, config.Feed.(natsfeed.Feed))

	if got := serial(); got != 1 {
		t.Fatalf("certificate %d", got)
	}
	natsSerial := func() int64 {
		t.Helper()
		conn, err := nats.Connect("tls://127.0.0.1:"+s.natsPort, nats.UserInfo("services", "a-password-of-services"),
			nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		state, err := conn.TLSConnectionState()
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	hangUp := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	// What is refused is refused as a whole: not with the certificate in force already.
	writeCertificate(t, cert, key, 2)
	text := readFile(t, s.config)
	moved := strings.Replace(text, s.issuer, "https://auth.example.com", 1) + "origins: [https://app.example.com]\n"
	if err := os.WriteFile(s.config, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp()
	eventually(t, "the refusal", func() bool { return strings.Contains(s.logs.String(), "reload refused") })
	if !strings.Contains(s.logs.String(), "public_url is another one") || serial() != 1 || natsSerial() != 1 {
		t.Errorf("certificates %d and %d after a refused reload: %s", serial(), natsSerial(), s.logs.String())
	}
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp()
	eventually(t, "the new certificates", func() bool { return serial() == 2 && natsSerial() == 2 })
	s.finish(t)
}

// checkServiceRights: a service hears heartbeats, may send nothing, and has to say who it is.
func checkServiceRights(t *testing.T, feed natsfeed.Feed) {
	t.Helper()
	refused := make(chan error, 1)
	conn, err := nats.Connect(feed.URL, nats.UserInfo(feed.User, feed.Password), nats.Secure(feed.TLS),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heartbeats, err := conn.SubscribeSync("tokenbroker.heartbeat.>")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := heartbeats.NextMsg(patience); err != nil {
		t.Errorf("no heartbeat: %v", err)
	}
	if err := conn.Publish("tokenbroker.revocation.forged", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("publishing: %v", err)
		}
	case <-time.After(patience):
		t.Error("a service may publish revocations")
	}
	if anonymous, err := nats.Connect(feed.URL, nats.Secure(feed.TLS)); err == nil {
		anonymous.Close()
		t.Error("anybody may listen")
	}
}

// writeCertificate writes a self-signed pair for 127.0.0.1 and auth.example.com and returns the certificate.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"auth.example.com"},
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
	for name, text := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert
}
