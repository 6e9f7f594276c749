package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
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
	"tokenbroker/internal/freeport"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
)

// With a certificate the operators' TCP listener speaks only TLS; commands check the
// certificate, and a reload takes over another one.
func TestOperatorsOverTLS(t *testing.T) {
	s := newServed(t, "http")
	address := "127.0.0.1:" + freeport.Take(t, 1)[0]
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
	if !strings.Contains(s.logs.String(), "public_url has changed to") || serial() != 1 || natsSerial() != 1 {
		t.Errorf("certificates %d and %d after a refused reload: %s", serial(), natsSerial(), s.logs.String())
	}
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp()
	eventually(t, "the new certificates", func() bool { return serial() == 2 && natsSerial() == 2 })
	s.finish(t)
}

// checkServiceRights checks that a service receives heartbeats, must not publish and needs credentials.
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
		t.Error("the NATS server accepts a connection without credentials")
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
