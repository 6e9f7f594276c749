package etcdstore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/etcdstore/member"
)

// authority issues certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.issue("test CA", nil)
	return a
}

// issue makes a certificate, which signs itself if the authority has none yet.
func (a *authority) issue(name string, sans []net.IP) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: sans,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// files writes a certificate and its key to PEM files.
func (a *authority) files(cert *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	for file, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: cert.Raw}, "key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert"), filepath.Join(dir, "key")
}

// client returns the configuration of a client with a certificate of the authority's.
func (a *authority) client(name string) *tls.Config {
	cert, key := a.issue(name, nil)
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

// TestTLSAndUsers uses a member that requires client certificates, and then users.
func TestTLSAndUsers(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	c := newCluster(t.TempDir(), 1, 0)
	url := strings.Replace(c.urls[0], "http:", "https:", 1)
	serverCert, serverKey := ca.files(ca.issue("member", []net.IP{net.IPv4(127, 0, 0, 1)}))
	caFile, _ := ca.files(ca.cert, ca.key)
	c.configs[0].ClientURL, c.configs[0].TLS = url, &member.TLS{Cert: serverCert, Key: serverKey, ClientCA: caFile}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	base := etcdstore.Config{Endpoints: []string{url}, TLS: ca.client("someone"), Prefix: "mine/", TryFor: time.Second}
	wait := 800 * time.Millisecond // until Open stops, if no member answers
	refuses := func(what string, change func(*etcdstore.Config), texts ...string) {
		t.Helper()
		config := base
		change(&config)
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		s, err := etcdstore.Open(ctx, config)
		if err == nil {
			t.Errorf("%s: no error", what)
			_ = s.Close()
			return
		}
		wantText(t, err, texts...)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", what, err)
		}
	}
	works := func(what string, config etcdstore.Config) {
		t.Helper()
		f := fenced{Store: open(t, config)}
		fence, err := f.GetMany(t.Context(), []string{fenceKey})
		if err != nil {
			t.Fatal(err)
		}
		f.revision = fence[0].Revision
		hints := f.Follow(t.Context(), "k")
		if errs := f.commit(t.Context(), nil, put("k."+what, "v", 0)); errs[0] != nil {
			t.Errorf("%s: %v", what, errs[0])
		}
		if got := value(t, f, "k."+what); got != "v" {
			t.Errorf("%s: %q", what, got)
		}
		<-hints
	}
	works("certificate", base)
	refuses("no certificate", func(c *etcdstore.Config) {
		c.TLS = base.TLS.Clone()
		c.TLS.Certificates = nil
	})
	refuses("a certificate of another authority", func(c *etcdstore.Config) {
		c.TLS = base.TLS.Clone()
		c.TLS.Certificates = other.client("someone").Certificates
	})
	refuses("a member of another authority", func(c *etcdstore.Config) { c.TLS = other.client("someone") }, "certificate")
	refuses("no TLS", func(c *etcdstore.Config) {
		c.TLS, c.Endpoints = nil, []string{"http://" + strings.TrimPrefix(url, "https://")}
	})
	refuses("a plain endpoint", func(c *etcdstore.Config) { c.Endpoints = []string{"http://127.0.0.1:1"} }, "not https")

	wait = time.Minute // a member answers
	enableUsers(t, rootClient(t, url, func(c *clientv3.Config) { c.TLS = ca.client("root") }))
	user := base
	user.Username, user.Password = "broker", "secret"
	works("user", user)
	// An endpoint that does not answer does not prevent the start, although a client authenticates when it is made.
	user.Endpoints = append([]string{strings.Replace(freeURLs(1)[0], "http:", "https:", 1)}, url)
	works("dead-endpoint", user)
	refuses("a wrong password", func(c *etcdstore.Config) { c.Username, c.Password = "broker", "secret2" }, "authentication failed")
	refuses("an unknown user", func(c *etcdstore.Config) { c.Username, c.Password = "nobody", "secret" }, "authentication failed")
	refuses("a reader", func(c *etcdstore.Config) { c.Username, c.Password = "reader", "secret" }, `user "reader"`, `"mine/"`, "permission denied")
	refuses("another prefix", func(c *etcdstore.Config) { c.Username, c.Password, c.Prefix = "broker", "secret", "mine2/" }, "permission denied")

	// A right that is withdrawn later refuses commits; they are not uncertain.
	f := fenced{Store: open(t, user)}
	fence, err := f.Get(t.Context(), fenceKey)
	if err != nil {
		t.Fatal(err)
	}
	f.revision = fence.Revision
	root := rootClient(t, url, func(c *clientv3.Config) { c.TLS, c.Username, c.Password = ca.client("root"), "root", "secret" })
	if _, err := root.UserRevokeRole(t.Context(), "broker", "broker"); err != nil {
		t.Fatal(err)
	}
	if errs := f.commit(t.Context(), nil, blind("k", "v")); errs[0] == nil || errors.Is(errs[0], store.ErrUncertain) {
		t.Errorf("without a right: %v", errs)
	}
}

// enableUsers makes the users root, broker (reads and writes mine/) and reader, and requires authentication.
func enableUsers(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := t.Context()
	end := clientv3.GetPrefixRangeEnd("mine/")
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	for name, right := range map[string]clientv3.PermissionType{"broker": clientv3.PermissionType(clientv3.PermReadWrite), "reader": clientv3.PermissionType(clientv3.PermRead)} {
		_, err := c.RoleAdd(ctx, name)
		note(err)
		_, err = c.RoleGrantPermission(ctx, name, "mine/", end, right)
		note(err)
	}
	_, err := c.RoleAdd(ctx, "root")
	note(err)
	for _, name := range []string{"root", "broker", "reader"} {
		_, err := c.UserAdd(ctx, name, "secret")
		note(err)
		_, err = c.UserGrantRole(ctx, name, name)
		note(err)
	}
	_, err = c.AuthEnable(ctx)
	note(err)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
