package pgstore_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
)

// certificate returns a certificate that is its own authority and its key, as PEM.
func certificate(t *testing.T, name string, ips ...net.IP) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: ips, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// TestTLSAndPasswords: the server's certificate is verified as the URL says, and the password authenticates.
func TestTLSAndPasswords(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Single())
	server := c.Primary()
	cert, key := certificate(t, "server", net.IPv4(127, 0, 0, 1))
	other, _ := certificate(t, "other")
	for file, text := range map[string]string{"server.crt": cert, "server.key": key, "pg_hba.conf": "hostssl all broker all scram-sha-256\nhost all tokenbroker all trust"} {
		for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
			redirect := ">>"
			if i == 0 {
				redirect = ">"
			}
			server.SQL(t, "postgres", fmt.Sprintf("COPY (SELECT '%s') TO PROGRAM 'umask 077; cat %s %s'", line, redirect, filepath.Join(server.Dir(), file)))
		}
	}
	server.SQL(t, "postgres", "ALTER SYSTEM SET ssl = on")
	server.SQL(t, "postgres", "SET password_encryption = 'scram-sha-256'; CREATE ROLE broker LOGIN PASSWORD 'right'; SELECT pg_reload_conf()")
	dir := t.TempDir()
	for file, text := range map[string]string{"root.crt": cert, "other.crt": other} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := pgstore.Config{URL: c.URL(), LocalDurability: true, TryFor: 5 * time.Second}
	if err := pgstore.Init(t.Context(), config, "broker"); err != nil {
		t.Fatal(err)
	}
	at := func(query string) string { return "postgres://broker@" + server.Addr() + "/postgres?" + query }
	config.Password = "right"
	config.URL = at("sslmode=verify-full&sslrootcert=" + filepath.Join(dir, "root.crt"))
	var s *pgstore.Store
	eventually(t, "the server uses TLS", func() (ok bool) {
		var err error
		s, err = pgstore.Open(t.Context(), config)
		return err == nil
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ query, password, want string }{
		{"sslmode=verify-full&sslrootcert=" + filepath.Join(dir, "root.crt"), "wrong", "28P01"},
		{"sslmode=verify-full&sslrootcert=" + filepath.Join(dir, "root.crt"), "", "28P01"},
		{"sslmode=require", "right", ""},
		{"sslmode=disable", "right", "28000"},
	} {
		config.URL, config.Password = at(tt.query), tt.password
		s, err := pgstore.Open(t.Context(), config)
		if err == nil {
			_ = s.Close()
		}
		if tt.want != "" {
			wantText(t, err, tt.want)
		} else if err != nil {
			t.Errorf("%s: %v", tt.query, err)
		}
		if err != nil && strings.Contains(err.Error(), "wrong") {
			t.Errorf("the error has the password: %v", err)
		}
	}
	config.URL, config.Password = at("sslmode=verify-full&sslrootcert="+filepath.Join(dir, "other.crt")), "right"
	config.TryFor = 500 * time.Millisecond
	ctx, cancel := contextFor(t, 2*time.Second)
	defer cancel()
	_, err := pgstore.Open(ctx, config)
	wantText(t, err, "certificate")
}
