package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/config"
)

var secretKey = regexp.MustCompile(`\.(secret|previous_secret|client_secret|token|initial_access_token|metrics_token|kek|password|service_password)(_file)?$`)

// newPair makes a self-signed certificate for auth.example.com and its key, in PEM; change
// may be nil.
func newPair(t testing.TB, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"auth.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// base are good configurations that the rows of the table change by a few keys.
var base = map[string]string{
	"http":  good,
	"https": "trusted_proxies: [127.0.0.1]\n" + strings.Replace(good, "http://127.0.0.1:8080", "https://auth.example.com", 1),
	"cognito": good + `providers:
  cognito: {kind: cognito, region: eu-central-1, user_pool: eu-central-1_abc123DEF, client_id: app}
`,
	"oidc": good + `providers:
  corp: {kind: oidc, issuer: 'https://id.example.com/realm', client_id: app}
`,
	"etcd": good + `nats: {url: 'nats://127.0.0.1:4222'}
keyring: {kek: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
store: {engine: etcd, broker_name: b1, etcd: {endpoints: ['http://127.0.0.1:2379']}}
`,
	"postgres": good + `nats: {url: 'nats://127.0.0.1:4222'}
keyring: {kek: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
store: {engine: postgres, broker_name: b1, postgres: {url: 'postgres://u@127.0.0.1:5432/db?sslmode=disable'}}
`,
	"etcd without kek": good + `nats: {url: 'nats://127.0.0.1:4222'}
store: {engine: etcd, broker_name: b1, etcd: {endpoints: ['http://127.0.0.1:2379']}}
`,
	"orders":  good + "nats: {services: {orders: {}}}\n",
	"dotted":  good + "nats: {services: {a.b: {}}}\n",
	"service": strings.Replace(good, "secret: "+secretText, "scopes: [a]", 1),
}

func TestRefusals(t *testing.T) {
	type flags = map[string]string
	certPEM, keyPEM := newPair(t, nil)
	_, otherPEM := newPair(t, nil)
	cert, key, other := write(t, "cert.pem", certPEM), write(t, "key.pem", keyPEM), write(t, "other.pem", otherPEM)
	pairOf := func(change func(*x509.Certificate)) flags {
		certPEM, keyPEM := newPair(t, change)
		return flags{"tls.cert_file": write(t, "cert.pem", certPEM), "tls.key_file": write(t, "key.pem", keyPEM)}
	}
	expired := pairOf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := pairOf(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	foreign := pairOf(func(c *x509.Certificate) { c.DNSNames = []string{"www.example.com"} })
	empty, missing := write(t, "empty", "\n"), filepath.Join(t.TempDir(), "missing")
	keys := write(t, "keys.json", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	privateKeys := write(t, "private.json", `{"keys":[{"kty":"OKP","d":"x"}]}`)
	const secret, hash = "clients.my-service.secret", "clients.my-service.secret_hash"
	for _, tt := range []struct {
		base     string
		flags    flags
		key      string // of the one problem; "" for none
		fragment string
	}{
		{"http", nil, "", ""},
		{"http", flags{"public_url": "http://[::1]:8080"}, "", ""},
		{"http", flags{"public_url": "http://localhost"}, "", ""},
		{"http", flags{"public_url": "http://auth.example.com"}, "public_url", "not loopback"},
		{"http", flags{"public_url": "http://0.0.0.0:8080"}, "public_url", "not loopback"},
		{"http", flags{"public_url": ""}, "public_url", "missing"},
		{"http", flags{"public_url": "auth.example.com"}, "public_url", "not an http or https URL"},
		{"http", flags{"public_url": "ftp://auth.example.com"}, "public_url", "not an http or https URL"},
		{"http", flags{"public_url": "https://*.example.com"}, "public_url", "not an http or https URL"},
		{"http", flags{"public_url": "https://a b"}, "public_url", "not an http or https URL"},
		{"http", flags{"public_url": "https://auth.example.com/auth"}, "public_url", "has a path"},
		{"http", flags{"public_url": "https://auth.example.com/"}, "public_url", "slash"},
		{"http", flags{"public_url": "https://auth.example.com?x"}, "public_url", "query"},
		{"http", flags{"public_url": "https://auth.example.com#"}, "public_url", "fragment"},
		{"http", flags{"public_url": "https://u:p@auth.example.com"}, "public_url", "user or a password"},
		{"http", flags{"public_url": "https://Auth.example.com:443"}, "public_url", "https://auth.example.com"},
		{"http", flags{"public_url": "https://auth.example.com."}, "public_url", "dot"},
		{"http", flags{"public_url": "https://auth.example.com:"}, "public_url", "colon"},
		{"http", flags{"public_url": "https://auth.example.com:08443"}, "public_url", "8443"},
		{"http", flags{"public_url": "https://bücher.example"}, "public_url", "xn--bcher-kva.example"},
		{"http", flags{"public_url": "http://[::ffff:127.0.0.1]"}, "public_url", "127.0.0.1"},
		{"http", flags{"public_url": "http://2130706433"}, "public_url", "address"},
		{"http", flags{"public_url": "https://co.uk"}, "public_url", "public suffix"},
		{"http", flags{"data_dir": ""}, "data_dir", "missing"},
		{"http", flags{"data_dir": "data"}, "data_dir", "absolute"},
		{"http", flags{"data_dir": "/" + strings.Repeat("a", 90)}, "", ""},
		{"http", flags{"data_dir": "/" + strings.Repeat("a", 90), "admin.listen": ""}, "admin.socket", "by data_dir"},
		{"http", flags{"listen": "8080"}, "listen", "not host:port"},
		{"http", flags{"listen": ""}, "listen", "missing"},
		{"http", flags{"listen": ":70000"}, "listen", "not host:port"},
		{"http", flags{"listen": "300.1.1.1:8080"}, "listen", "not host:port"},
		{"http", flags{"listen": "a b:8080"}, "listen", "not host:port"},
		{"http", flags{"listen": "0.0.0.0:8080"}, "", ""},
		{"http", flags{"listen": "3fa85f64c1b2:8080"}, "", ""}, // a container's host name
		{"http", flags{"listen": "broker.internal.:8080"}, "", ""},
		{"http", flags{"listen": "127.0.0.1:8081"}, "admin.listen", "address of listen"},
		{"http", flags{"admin.listen": "127.0.0.1:4222"}, "nats.listen", "address of admin.listen"},
		{"http", flags{"listen": "127.0.0.1:0", "admin.listen": "127.0.0.1:0", "nats.listen": "127.0.0.1:0"}, "", ""},

		{"https", nil, "", ""},
		{"https", flags{"trusted_proxies": ""}, "trusted_proxies", "trusted_proxies: [127.0.0.1]"},
		{"https", flags{"listen": ":8080", "trusted_proxies": ""}, "trusted_proxies", "behind a proxy"},
		{"https", flags{"listen": ":8443", "trusted_proxies": "", "tls.cert_file": cert, "tls.key_file": key}, "", ""},
		{"https", expired, "tls.cert_file", "expired at"},
		{"https", early, "tls.cert_file", "not valid before"},
		{"https", foreign, "tls.cert_file", "not for auth.example.com"},
		{"http", flags{"nats.tls_cert_file": foreign["tls.cert_file"], "nats.tls_key_file": foreign["tls.key_file"]}, "", ""},
		{"http", flags{"nats.tls_cert_file": expired["tls.cert_file"], "nats.tls_key_file": expired["tls.key_file"]}, "nats.tls_cert_file", "expired at"},
		{"https", flags{"listen": ":8080", "trusted_proxies": "10.0.0.0/8, fd00::1"}, "", ""},
		{"https", flags{"listen": ":8443", "tls.cert_file": cert, "tls.key_file": key}, "", ""},
		{"https", flags{"tls.cert_file": cert}, "tls.key_file", "both or neither"},
		{"https", flags{"tls.key_file": key}, "tls.cert_file", "both or neither"},
		{"https", flags{"tls.cert_file": cert, "tls.key_file": other}, "tls.cert_file", "does not load"},
		{"https", flags{"tls.cert_file": cert, "tls.key_file": missing}, "tls.key_file", "no such file"},
		{"https", flags{"tls.cert_file": t.TempDir(), "tls.key_file": key}, "tls.cert_file", "directory"},
		{"http", flags{"tls.cert_file": cert, "tls.key_file": key}, "tls", "public_url is http"},
		{"https", flags{"trusted_proxies": "0.0.0.0/0"}, "trusted_proxies", "too wide"},
		{"https", flags{"trusted_proxies": "::/0"}, "trusted_proxies", "too wide"},
		{"https", flags{"trusted_proxies": "10.0.0.0/7"}, "trusted_proxies", "too wide"},
		{"https", flags{"trusted_proxies": "fd00::/15"}, "trusted_proxies", "too wide"},
		{"https", flags{"trusted_proxies": "10.0.0.0/8, fd00::/16"}, "", ""},
		{"https", flags{"trusted_proxies": "::ffff:10.0.0.0/104"}, "trusted_proxies", "IPv4 in IPv6"},
		{"https", flags{"trusted_proxies": "::ffff:10.0.0.1"}, "trusted_proxies", "IPv4 in IPv6"},
		{"https", flags{"trusted_proxies": "proxy.internal"}, "trusted_proxies", "neither an address nor a CIDR"},
		{"https", flags{"trusted_proxies": "10.0.0.0/33"}, "trusted_proxies", "neither an address nor a CIDR"},

		{"http", flags{"cookie.secure": "false"}, "", ""},
		{"http", flags{"cookie.secure": "true"}, "cookie.secure", "not https"},
		{"https", flags{"cookie.secure": "true"}, "", ""},
		{"https", flags{"cookie.secure": "false"}, "cookie.secure", "public URL"},
		{"https", flags{"cookie.secure": "no"}, "cookie.secure", "true or false"},
		{"http", flags{"cookie.path": "/"}, "", ""},
		{"http", flags{"cookie.path": "/auth/"}, "cookie.path", "want /auth or /"},
		{"http", flags{"cookie.name": "a b"}, "cookie.name", "want letters"},
		{"http", flags{"cookie.name": ""}, "cookie.name", "want letters"},
		{"http", flags{"cookie.name": "a!b"}, "cookie.name", "want letters"},
		{"http", flags{"cookie.name": "__host-x"}, "cookie.name", "prefix"},
		{"https", flags{"origins": "https://app.example.com,https://example.com:8443"}, "", ""},
		{"https", flags{"origins": "*"}, "origins", "every site"},
		{"https", flags{"origins": "null"}, "origins", "sandboxed"},
		{"https", flags{"origins": "https://*.example.com"}, "origins", "no wildcard"},
		{"https", flags{"origins": "https://app.example.com/app"}, "origins", "no path"},
		{"https", flags{"origins": "https://app.example.com:0"}, "origins", "1 to 65535"},
		{"https", flags{"origins": "https://app.example.com."}, "origins", "dot"},
		{"https", flags{"origins": "https://app.example.com?"}, "origins", "no path"},
		{"https", flags{"origins": "https://example.org"}, "origins", "one domain"},
		{"https", flags{"origins": "http://app.example.com"}, "origins", "scheme is also a part"},
		{"http", flags{"origins": "http://127.0.0.1:5173"}, "", ""},
		{"https", flags{"origins": "https://u:p@app.example.com"}, "origins", "an item is not an origin"},
		{"http", flags{"origins": "http://localhost:5173"}, "origins", "different sites"},

		{"http", flags{"lifetimes.access_token": "0s"}, "lifetimes.access_token", "between 1s and 1h"},
		{"http", flags{"lifetimes.access_token": "61m"}, "lifetimes.access_token", "between 1s and 1h"},
		{"http", flags{"lifetimes.access_token": "1500ms"}, "lifetimes.access_token", "whole seconds"},
		{"http", flags{"lifetimes.access_token": "300"}, "lifetimes.access_token", "unit"},
		{"http", flags{"sessions.max_per_user": "0"}, "sessions.max_per_user", "not 1 to 1000"},
		{"http", flags{"sessions.max_per_user": "1001"}, "sessions.max_per_user", "not 1 to 1000"},
		{"http", flags{"sessions.max_per_user": "1000"}, "", ""},
		{"http", flags{"lifetimes.session_idle": "-1h"}, "lifetimes.session_idle", "positive"},
		{"http", flags{"lifetimes.session_idle": "91d"}, "lifetimes.session_idle", "longer than session_absolute, 90d"},
		{"http", flags{"lifetimes.session_absolute": "0s"}, "lifetimes.session_absolute", "positive"},
		{"http", flags{"lifetimes.refresh_grace": "0s"}, "", ""},
		{"http", flags{"lifetimes.refresh_grace": "0"}, "lifetimes.refresh_grace", "unit"},
		{"http", flags{"lifetimes.refresh_grace": "301s"}, "lifetimes.refresh_grace", "between"},
		{"http", flags{"lifetimes.jwks_cache": "10ms"}, "lifetimes.jwks_cache", "whole seconds"},
		{"http", flags{"lifetimes.jwks_cache": "1d"}, "", ""},
		{"http", flags{"lifetimes.jwks_cache": "25h"}, "lifetimes.jwks_cache", "1s to 1d"},
		{"http", flags{"lifetimes.session_idle": "5m9s"}, "lifetimes.session_idle", "shorter than access_token"},
		{"http", flags{"lifetimes.session_idle": "5m10s"}, "", ""},
		{"http", flags{"tokens.algorithm": "HS256"}, "tokens.algorithm", "ES256, EdDSA, RS256, PS256"},
		{"http", flags{"tokens.algorithm": "es256"}, "tokens.algorithm", "want one of"},
		{"http", flags{"tokens.audience": ""}, "tokens.audience", "missing"},
		{"http", flags{"tokens.audience": "a,a"}, "tokens.audience", "twice"},
		{"http", flags{"tokens.audience": "a,,b"}, "tokens.audience", "empty item"},
		{"http", flags{"keyring.kek": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}, "", ""},
		{"http", flags{"keyring.kek": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=="}, "keyring.kek", "32 bytes"},
		{"http", flags{"keyring.kek": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, "keyring.kek", "zero"},
		{"http", flags{"keyring.kek": ""}, "keyring.kek", "empty"},
		{"http", flags{"keyring.rotate_every": "0s"}, "", ""},
		{"http", flags{"keyring.rotate_every": "1h"}, "", ""},
		{"http", flags{"keyring.rotate_every": "59m"}, "keyring.rotate_every", "1h to 400d"},
		{"http", flags{"keyring.rotate_every": "-30d"}, "keyring.rotate_every", "1h to 400d"},
		{"http", flags{"keyring.rotate_every": "401d"}, "keyring.rotate_every", "1h to 400d"},
		{"http", flags{"keyring.rotate_every": "1d", "lifetimes.jwks_cache": "13h"}, "keyring.rotate_every", "twice lifetimes.jwks_cache"},
		{"http", flags{"log.level": "warning"}, "log.level", "did you mean warn?"},
		{"http", flags{"log.format": "xml"}, "log.format", "text, json"},

		{"etcd", nil, "", ""},
		{"http", flags{"store.engine": "postgresql"}, "store.engine", "did you mean postgres?"},
		{"http", flags{"store.etcd.username": "ada"}, "store.etcd.username", "store.engine is badger"},
		{"http", flags{"store.broker_name": "b1"}, "store.broker_name", "store.engine is badger"},
		{"etcd", flags{"store.broker_name": "b 1"}, "store.broker_name", "not a broker's name"},
		{"etcd", flags{"store.etcd.endpoints": ""}, "store.etcd.endpoints", "missing"},
		{"etcd", flags{"store.etcd.endpoints": "http://127.0.0.1:2379,https://etcd-2:2379"}, "store.etcd.endpoints", "both http and https"},
		{"etcd", flags{"store.etcd.endpoints": "etcd-1:2379"}, "store.etcd.endpoints", "not the URL of a member"},
		{"etcd", flags{"store.etcd.endpoints": "https://u:p@etcd-1:2379"}, "store.etcd.endpoints", "a user or a password"},
		{"etcd", flags{"store.etcd.endpoints": "https://etcd-1:2379/v3"}, "store.etcd.endpoints", "more than scheme, host and port"},
		{"etcd", flags{"store.etcd.endpoints": "https://etcd-1:2379", "store.etcd.ca_file": cert, "store.etcd.certificate_file": cert, "store.etcd.key_file": key}, "", ""},
		{"etcd", flags{"store.etcd.endpoints": "https://etcd-1:2379", "store.etcd.ca_file": empty}, "store.etcd.ca_file", "no certificate"},
		{"etcd", flags{"store.etcd.endpoints": "https://etcd-1:2379", "store.etcd.key_file": key}, "store.etcd.certificate_file", "missing"},
		{"etcd", flags{"store.etcd.ca_file": cert}, "store.etcd.ca_file", "http URL"},
		{"etcd", flags{"store.etcd.prefix": "tokenbroker"}, "store.etcd.prefix", "not a prefix"},
		{"etcd", flags{"store.etcd.username": "broker"}, "store.etcd.password", "missing"},
		{"etcd without kek", flags{"log.level": "info"}, "keyring.kek", "missing"},
		{"etcd without kek", flags{"keyring.kek_file": missing}, "keyring.kek_file", "no such file"},
		{"etcd", flags{"nats.url": ""}, "nats.url", "missing"},
		{"etcd", flags{"lifetimes.refresh_grace": "4s"}, "lifetimes.refresh_grace", "several brokers"},
		{"etcd", flags{"lifetimes.refresh_grace": "0s"}, "", ""},
		{"etcd", flags{"store.postgres.schema": "a"}, "store.postgres.schema", "store.engine is etcd"},

		{"postgres", nil, "", ""},
		{"postgres", flags{"store.etcd.prefix": "a/"}, "store.etcd.prefix", "store.engine is postgres"},
		{"http", flags{"store.postgres.notify": "false"}, "store.postgres.notify", "store.engine is badger"},
		{"postgres", flags{"store.broker_name": ""}, "store.broker_name", "not a broker's name"},
		{"postgres", flags{"nats.url": ""}, "nats.url", "missing"},
		{"postgres", flags{"store.postgres.url": ""}, "store.postgres.url", "missing"},
		{"postgres", flags{"store.postgres.url": "postgres://u@db-1:5432,db-2:5432/db?sslmode=verify-full"}, "", ""},
		{"postgres", flags{"store.postgres.url": "postgresql://u@[fd00::1]/db?sslmode=verify-full"}, "", ""},
		{"postgres", flags{"store.postgres.url": "host=db-1 user=u dbname=db"}, "store.postgres.url", "not the URL of a PostgreSQL database"},
		{"postgres", flags{"store.postgres.url": "mysql://u@db-1/db?sslmode=verify-full"}, "store.postgres.url", "not the URL of a PostgreSQL database"},
		{"postgres", flags{"store.postgres.url": "postgres://u@db-1:5432,db-2/db?sslmode=verify-full"}, "store.postgres.url", "the port of each or of none"},
		{"postgres", flags{"store.postgres.url": "postgres://u@,db-2/db?sslmode=verify-full"}, "store.postgres.url", "not host:port"},
		{"postgres", flags{"store.postgres.url": "postgres://u@db-1:x,db-2:1/db?sslmode=verify-full"}, "store.postgres.url", "not host:port"},
		{"postgres", flags{"store.postgres.url": "postgres://u@/db?sslmode=verify-full"}, "store.postgres.url", "not host:port"},
		{"postgres", flags{"store.postgres.url": "postgres://db-1/db?sslmode=verify-full"}, "store.postgres.url", "a user and a database"},
		{"postgres", flags{"store.postgres.url": "postgres://u@db-1/?sslmode=verify-full"}, "store.postgres.url", "a user and a database"},
		{"postgres", flags{"store.postgres.url": "postgres://u@db-1/db"}, "store.postgres.url", "no sslmode of verify-full"},
		{"postgres", flags{"store.postgres.url": "postgres://u@db-1/db?sslmode=prefer"}, "store.postgres.url", "no sslmode of verify-full"},
		{"postgres", flags{"store.postgres.url": "postgres://u@db-1/db?sslmode=%zz"}, "store.postgres.url", "an invalid query"},
		{"postgres", flags{"store.postgres.schema": "Broker"}, "store.postgres.schema", "not the name of a schema"},
		{"postgres", flags{"store.postgres.schema": "pg_broker"}, "store.postgres.schema", "not the name of a schema"},
		{"postgres", flags{"store.postgres.schema": ""}, "store.postgres.schema", "not the name of a schema"},
		{"postgres", flags{"store.postgres.durability": "remote"}, "store.postgres.durability", "synchronous, local"},
		{"postgres", flags{"store.postgres.durability": "local"}, "", ""},
		{"postgres", flags{"store.postgres.max_connections": "1"}, "store.postgres.max_connections", "1 is not between 2 and 10000"},
		{"postgres", flags{"store.postgres.max_connections": "10001"}, "store.postgres.max_connections", "not between"},
		{"postgres", flags{"store.postgres.password_file": missing}, "store.postgres.password_file", "no such file"},

		{"http", flags{"browser.client": ""}, "browser.client", "missing"},
		{"http", flags{"browser.client": "my-spaa"}, "browser.client", "did you mean my-spa?"},
		{"http", flags{"browser.client": "my-service"}, "browser.client", "not a public client"},
		{"http", flags{"browser.home_url": "http://127.0.0.1:8080/app?x=1#top", "browser.signed_out_url": "http://127.0.0.1:8080/bye"}, "", ""},
		{"https", flags{"origins": "https://app.example.com", "browser.home_url": "https://APP.example.com:443/", "browser.signed_out_url": "https://app.example.com"}, "", ""},
		{"http", flags{"browser.home_url": "/app"}, "browser.home_url", "not an http or https URL"},
		{"http", flags{"browser.home_url": "javascript:alert(1)"}, "browser.home_url", "not an http or https URL"},
		{"http", flags{"browser.home_url": "//evil.test"}, "browser.home_url", "not an http or https URL"},
		{"http", flags{"browser.home_url": "http:127.0.0.1"}, "browser.home_url", "not an http or https URL"},
		{"http", flags{"browser.home_url": "http://u:p@127.0.0.1:8080/"}, "browser.home_url", "a user or a password"},
		{"http", flags{"browser.home_url": "http://127.0.0.1:8080/caf\u00e9"}, "browser.home_url", "printable ASCII"},
		{"http", flags{"browser.home_url": "http://127.0.0.1:8080/" + strings.Repeat("x", 512)}, "browser.home_url", "longer than 512"},
		{"http", flags{"browser.home_url": "https://elsewhere.example/"}, "browser.home_url", "not public_url's origin"},
		{"http", flags{"browser.home_url": "http://127.0.0.1:8081/"}, "browser.home_url", "not public_url's origin"},
		{"http", flags{"browser.signed_out_url": "http://127.0.0.1:8080@evil.test/"}, "browser.signed_out_url", "a user or a password"},
		{"http", flags{"browser.signed_out_url": "https://elsewhere.example/"}, "browser.signed_out_url", "not public_url's origin"},
		{"http", flags{"browser.signed_out_url": "http://127.0.0.1:8080/#bye"}, "browser.signed_out_url", "a fragment"},
		{"http", flags{"browser.scopes": "a b"}, "browser.scopes", "not a scope"},
		{"http", flags{"browser.scopes": "a"}, "browser.scopes", "not one of the scopes of my-spa"},
		{"http", flags{"browser.scopes": "a", "clients.my-spa.scopes": "a,b"}, "", ""},
		{"http", flags{"clients.my-spa.scopes": `a"`}, "clients.my-spa.scopes", "not a scope"},
		{"service", nil, "clients.my-service", "neither"},
		{"service", flags{"clients.my-service.public": "true"}, "", ""},
		{"service", flags{secret: secretText, "clients.my-service.public": "true"}, "clients.my-service", "more than one"},
		{"service", flags{secret: secretText, hash: strings.Repeat("a", 64)}, "clients.my-service", "more than one"},
		{"service", flags{hash: strings.Repeat("a", 64)}, "", ""},
		{"service", flags{hash: strings.Repeat("A", 64)}, hash, "64 hex digits"},
		{"service", flags{hash: "8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918"}, hash, "documentation"}, // admin
		{"service", flags{hash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, hash, "hash of an empty text"},
		{"service", flags{secret: "demo-service-secret"}, secret, "documentation"},
		{"service", flags{secret: secretText[1:]}, secret, "32 characters"},
		{"service", flags{secret: ""}, secret, "is empty"},
		{"service", flags{secret + "_file": empty}, secret + "_file", "is empty"},
		{"service", flags{secret + "_file": write(t, "s", "\ufeff"+secretText+"\r\n")}, secret + "_file", "byte order mark"},
		{"service", flags{secret + "_file": write(t, "s", secretText+"\nsecond\n")}, secret + "_file", "more than one line"},
		{"service", flags{secret + "_file": write(t, "s", secretText+"\n\n")}, secret + "_file", "more than one line"},
		{"service", flags{secret + "_file": write(t, "s", secretText+" \n")}, secret + "_file", "ends with a space"},
		{"service", flags{secret + "_file": write(t, "s", " "+secretText)}, secret + "_file", "begins with a space"},
		{"service", flags{secret + "_file": write(t, "s", secretText+"\x00")}, secret + "_file", "control character"},
		{"service", flags{secret: secretText + " "}, secret, "ends with a space"},
		{"service", flags{secret: secretText + "\n" + secretText}, secret, "more than one line"},
		{"service", flags{secret + "_file": missing}, secret + "_file", "no such file"},
		{"service", flags{secret + "_file": ""}, secret + "_file", "name is empty"},
		{"service", flags{secret + "_file": write(t, "s", secretText), secret: secretText}, secret, "given twice"},
		{"http", flags{"clients.my spa.public": "true"}, "clients.my spa", "not a client id"},
		{"http", flags{"clients.my-spa": "true"}, "clients.my-spa", "not a key"},

		{"cognito", nil, "", ""},
		{"cognito", flags{"providers.cognito.kind": "google"}, "providers.cognito.kind", "cognito, oidc"},
		{"cognito", flags{"providers.cognito.kind": ""}, "providers.cognito.kind", "missing"},
		{"cognito", flags{"providers.cognito.region": ""}, "providers.cognito.region", "missing"},
		{"cognito", flags{"providers.cognito.region": "us-east-1"}, "", ""}, // a replica's
		{"cognito", flags{"providers.cognito.region": "cn-north-1"}, "providers.cognito.user_pool", "not in region cn-north-1"},
		{"cognito", flags{"providers.cognito.region": "us-gov-west-1"}, "providers.cognito.user_pool", "not in region us-gov-west-1"},
		{"cognito", flags{"providers.cognito.region": "eusc-de-east-1", "providers.cognito.user_pool": "eusc-de-east-1_a"}, "", ""},
		{"cognito", flags{"providers.cognito.region": "cn-north-1", "providers.cognito.user_pool": "cn-north-1_a"}, "", ""},
		{"cognito", flags{"providers.cognito.user_pool": "frankfurt_a"}, "providers.cognito.user_pool", "does not begin with an AWS region"},
		{"cognito", flags{"providers.cognito.algorithms": "RS256"}, "providers.cognito.algorithms", "kind cognito"},
		{"cognito", flags{"providers.cognito.region": "frankfurt", "providers.cognito.user_pool": "frankfurt_a"}, "providers.cognito.region", "not an AWS region"},
		{"cognito", flags{"providers.cognito.user_pool": ""}, "providers.cognito.user_pool", "missing"},
		{"cognito", flags{"providers.cognito.user_pool": "abc123DEF"}, "providers.cognito.user_pool", "not a user pool id"},
		{"cognito", flags{"providers.cognito.client_id": ""}, "providers.cognito.client_id", "missing"},
		{"cognito", flags{"providers.cognito.client_secret": "Admin"}, "providers.cognito.client_secret", "documentation"},
		{"cognito", flags{"providers.cognito.domain": "https://x.auth.eu-central-1.amazoncognito.com"}, "", ""},
		{"cognito", flags{"providers.cognito.domain": "http://127.0.0.1"}, "providers.cognito.domain", "is http"},
		{"cognito", flags{"providers.cognito.domain": "login"}, "providers.cognito.domain", "not an https URL"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "http://192.168.1.2:9090"}, "providers.cognito.insecure_dev_endpoint", "not on loopback"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "http://cognito-idp.us-east-1.amazonaws.com"}, "providers.cognito.insecure_dev_endpoint", "not on loopback"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "https://idp.example.com"}, "providers.cognito.insecure_dev_endpoint", "not on loopback"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "http://localhost.example.com"}, "providers.cognito.insecure_dev_endpoint", "not on loopback"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "http://127.0.0.1:9090/"}, "providers.cognito.insecure_dev_endpoint", "scheme://host:port"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "http://127.0.0.1:9090/us-east-1_a"}, "providers.cognito.insecure_dev_endpoint", "scheme://host:port"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "127.0.0.1:9090"}, "providers.cognito.insecure_dev_endpoint", "scheme://host:port"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "http://u:p@127.0.0.1:9090"}, "providers.cognito.insecure_dev_endpoint", "scheme://host:port"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "ftp://127.0.0.1"}, "providers.cognito.insecure_dev_endpoint", "scheme://host:port"},
		{"cognito", flags{"public_url": "https://auth.example.com", "trusted_proxies": "127.0.0.1", "providers.cognito.insecure_dev_endpoint": "http://127.0.0.1:9090"}, "providers.cognito.insecure_dev_endpoint", "public_url is not on loopback"},
		{"cognito", flags{"providers.cognito.insecure_dev_endpoint": "http://127.0.0.1:9090"}, "", ""},
		{"cognito", flags{"providers.cognito.max_token_age": "0s"}, "providers.cognito.max_token_age", "positive"},
		{"cognito", flags{"providers.cognito.allowed_client_ids": "a,a"}, "providers.cognito.allowed_client_ids", "twice"},
		{"oidc", nil, "", ""},
		{"oidc", flags{"providers.corp.insecure_dev_endpoint": "http://127.0.0.1:9090"}, "providers.corp.insecure_dev_endpoint", "kind cognito"},
		{"oidc", flags{"providers.corp.issuer": ""}, "providers.corp.issuer", "missing"},
		{"oidc", flags{"providers.corp.issuer": "http://127.0.0.1:9090/x"}, "", ""},
		{"oidc", flags{"providers.corp.issuer": "http://id.example.com"}, "providers.corp.issuer", "is http"},
		{"oidc", flags{"providers.corp.issuer": "https://id.example.com?x=1"}, "providers.corp.issuer", "query"},
		{"oidc", flags{"providers.corp.endpoint_hosts": "keys.example.com,10.0.0.5,fd00::5"}, "", ""},
		{"oidc", flags{"providers.corp.endpoint_hosts": "https://keys.example.com"}, "providers.corp.endpoint_hosts", "not a host name"},
		{"oidc", flags{"providers.corp.endpoint_hosts": "keys.example.com:443"}, "providers.corp.endpoint_hosts", "not a host name"},
		{"oidc", flags{"providers.corp.endpoint_hosts": "*.example.com"}, "providers.corp.endpoint_hosts", "not a host name"},
		{"oidc", flags{"providers.corp.endpoint_hosts": "a,a"}, "providers.corp.endpoint_hosts", "twice"},
		{"oidc", flags{"providers.corp.algorithms": "RS256,ES512,EdDSA"}, "", ""},
		{"oidc", flags{"providers.corp.algorithms": "RS256,RS256"}, "providers.corp.algorithms", "twice"},
		{"oidc", flags{"providers.corp.algorithms": "HS256"}, "providers.corp.algorithms", "want one of RS256"},
		{"oidc", flags{"providers.corp.algorithms": "none"}, "providers.corp.algorithms", "want one of RS256"},
		{"oidc", flags{"providers.corp.algorithms": "rs512"}, "providers.corp.algorithms", "RS512"},
		{"oidc", flags{"providers.corp.region": "us-east-1"}, "providers.corp.region", "kind oidc"},
		{"http", flags{"providers.Corp.kind": "oidc", "providers.Corp.issuer": "https://x.example", "providers.Corp.client_id": "x"}, "providers.Corp", "not a provider name"},

		{"http", flags{"nats.url": "nats://n:4222"}, "", ""},
		{"http", flags{"nats.url": "tls://a:4222, tls://b:4222", "nats.user": "u", "nats.password": "p"}, "", ""},
		{"http", flags{"nats.url": "http://n:4222"}, "nats.url", "not a NATS URL"},
		{"http", flags{"nats.url": "nats://u:p@n"}, "nats.url", "password"},
		{"http", flags{"nats.url": "nats://n/x"}, "nats.url", "more than scheme"},
		{"http", flags{"nats.url": "nats://n", "nats.listen": "127.0.0.1:4222"}, "nats.listen", "nats.url names another"},
		{"http", flags{"nats.url": "nats://n", "nats.service_user": "s"}, "nats.service_user", "embedded server"},
		{"http", flags{"nats.url": "nats://n", "nats.user": "u"}, "nats.password", "missing"},
		{"http", flags{"nats.url": "nats://n", "nats.password": "p"}, "nats.user", "missing"},
		{"http", flags{"nats.url": "nats://n", "nats.credentials_file": missing}, "nats.credentials_file", "no such file"},
		{"http", flags{"nats.url": "nats://n", "nats.credentials_file": cert, "nats.user": "u", "nats.password": "p"}, "nats.credentials_file", "one way"},
		{"http", flags{"nats.url": "nats://n", "nats.ca_file": cert}, "", ""},
		{"http", flags{"nats.url": "nats://n", "nats.ca_file": empty}, "nats.ca_file", "no certificate"},
		{"http", flags{"nats.user": "u"}, "nats.user", "nats.url is missing"},
		{"http", flags{"nats.listen": ""}, "nats.listen", "missing"},
		{"http", flags{"nats.service_user": "s", "nats.service_password": "1234567890123456"}, "", ""},
		{"http", flags{"nats.service_user": "s", "nats.service_password": "123456789012345"}, "nats.service_password", "16 characters"},
		{"http", flags{"nats.service_user": "s"}, "nats.service_password", "missing"},
		{"orders", flags{"nats.services.orders.password": secretText}, "", ""},
		{"orders", flags{"nats.services.orders.password": "123456789012345"}, "nats.services.orders.password", "16 characters"},
		{"orders", flags{}, "nats.services.orders.password", "missing"},
		{"dotted", flags{"nats.services.a.b.password": secretText}, "nats.services.a.b", "letters, digits"},
		{"orders", flags{"nats.services.orders.password": secretText, "nats.service_user": "orders", "nats.service_password": secretText}, "nats.services.orders", "service_user"},
		{"orders", flags{"nats.url": "nats://n"}, "", ""},
		{"orders", flags{"nats.url": "nats://n", "nats.services.orders.password": secretText}, "nats.services.orders.password", "its own users"},
		{"orders", flags{"nats.listen": ":4222", "nats.services.orders.password": secretText, "nats.tls_cert_file": cert, "nats.tls_key_file": key}, "", ""},
		{"http", flags{"nats.tls_cert_file": cert}, "nats.tls_key_file", "both or neither"},
		{"http", flags{"nats.listen": ":4222", "nats.service_user": "s", "nats.service_password": secretText, "nats.tls_cert_file": cert, "nats.tls_key_file": key}, "", ""},
		{"http", flags{"nats.listen": ":4222", "nats.service_user": "s", "nats.service_password": secretText, "nats.tls_cert_file": cert}, "nats.tls_key_file", "missing"},
		{"http", flags{"nats.listen": ":4222", "nats.tls_cert_file": cert, "nats.tls_key_file": key, "nats.service_user": "s"}, "nats.service_password", "reached from elsewhere"},

		{"http", flags{"admin.listen": ""}, "", ""},
		{"http", flags{"admin.listen": "localhost"}, "admin.listen", "not host:port"},
		{"http", flags{"admin.listen": ":8081"}, "admin.listen", "not loopback"},
		{"http", flags{"admin.listen": ":8081", "admin.hosts": "broker"}, "admin.listen", "not loopback"},
		{"http", flags{"admin.listen": ":8081", "admin.token": secretText}, "admin.listen", "not loopback"},
		{"http", flags{"admin.listen": ":8081", "admin.hosts": "broker", "admin.token": secretText}, "admin.tls_cert_file", "missing"},
		{"http", flags{"admin.listen": "192.0.2.1:8081", "admin.hosts": "broker", "admin.token": secretText}, "admin.tls_cert_file", "missing"},
		{"http", flags{"admin.listen": ":8081", "admin.hosts": "broker", "admin.token": secretText, "admin.tls_cert_file": cert, "admin.tls_key_file": key}, "", ""},
		{"http", flags{"admin.listen": ":8081", "admin.hosts": "broker", "admin.token": secretText, "admin.tls_cert_file": cert}, "admin.tls_key_file", "both or neither"},
		{"http", flags{"admin.tls_cert_file": cert, "admin.tls_key_file": other}, "admin.tls_cert_file", "does not load"},
		{"http", flags{"admin.tls_cert_file": cert, "admin.tls_key_file": key}, "", ""},
		{"http", flags{"admin.hosts": ""}, "admin.hosts", "empty"},
		{"http", flags{"admin.hosts": "*"}, "admin.hosts", "not a host name"},
		{"http", flags{"admin.hosts": "localhost:8081"}, "admin.hosts", "not a host name"},
		{"http", flags{"clients.my-spa.grants": "authorization_code,refresh_token", "clients.my-spa.redirect_uris": "http://127.0.0.1/cb"}, "", ""},
		{"http", flags{"clients.my-spa.grants": "password"}, "clients.my-spa.grants", "authorization_code, refresh_token"},
		{"http", flags{"clients.my-spa.grants": "client_credentials"}, "clients.my-spa.grants", "public client"},
		{"http", flags{"clients.my-service.grants": "client_credentials,token_exchange"}, "", ""},
		{"http", flags{"clients.my-service.grants": "authorization_code"}, "clients.my-service.redirect_uris", "missing"},
		{"http", flags{"clients.my-spa.redirect_uris": "https://a.example/cb"}, "clients.my-spa.redirect_uris", "authorization_code"},
		{"http", flags{"clients.my-spa.post_logout_redirect_uris": "https://*.example/"}, "clients.my-spa.post_logout_redirect_uris", "wildcard"},
		{"http", flags{"clients.my-spa.origins": "http://app.example.com"}, "clients.my-spa.origins", "is http"},
		{"http", flags{"clients.my-spa.name": "a\x1bb"}, "clients.my-spa.name", "control character"},
		{"http", flags{"clients.my-spa.default_scopes": "a"}, "clients.my-spa.default_scopes", "also add it to scopes"},
		{"http", flags{"clients.my-spa.access_token": "10m"}, "clients.my-spa.access_token", "5m"},
		{"http", flags{"clients.my-spa.session_absolute": "8h", "clients.my-spa.refresh_grace": "0s"}, "", ""},
		{"http", flags{"clients.my-spa.refresh_grace": "1m"}, "clients.my-spa.refresh_grace", "lifetimes.refresh_grace"},
		{"http", flags{"clients.my-spa.jwks_uri": "https://a.example/keys"}, "clients.my-spa", "cannot authenticate"},
		{"http", flags{"clients.my-service.jwks_uri": "https://a.example/keys"}, "", ""},
		{"http", flags{"clients.my-service.jwks_uri": "http://a.example/keys"}, "clients.my-service.jwks_uri", "is http"},
		{"http", flags{"clients.my-service.jwks_file": keys}, "", ""},
		{"http", flags{"clients.my-service.jwks_file": keys, "clients.my-service.jwks_uri": "https://a.example/keys"}, "clients.my-service.jwks_uri", "keep one"},
		{"http", flags{"clients.my-service.jwks_file": missing}, "clients.my-service.jwks_file", "no such file"},
		{"http", flags{"clients.my-service.jwks_file": key}, "clients.my-service.jwks_file", "not JSON"},
		{"http", flags{"clients.my-service.jwks_file": privateKeys}, "clients.my-service.jwks_file", "private"},
		{"http", flags{"clients.my-service.workloads": "a"}, "clients.my-service.workloads", "only the file"},
		{"http", flags{"clients.my-service.previous_secret": secretText + "x"}, "", ""},
		{"http", flags{"clients.my-service.previous_secret": "short"}, "clients.my-service.previous_secret", "32 characters"},
		{"http", flags{"clients.my-service.previous_secret_hash": "x"}, "clients.my-service.previous_secret_hash", "64 hex digits"},
		{"http", flags{"clients.my-service.previous_secret": secretText, "clients.my-service.previous_secret_hash": strings.Repeat("0", 64)}, "clients.my-service", "keep one"},
		{"http", flags{"clients.my-spa.previous_secret_hash": strings.Repeat("0", 64)}, "clients.my-spa", "no secret"},
		{"http", flags{"clients.my-service.secret": "demo-web-secret"}, "clients.my-service.secret", "documentation"},
		{"http", flags{"oauth.resources.my-api": "https://api.example.com/"}, "", ""},
		{"http", flags{"oauth.resources.my-app": "https://api.example.com/"}, "oauth.resources.my-app", "did you mean my-api?"},
		{"http", flags{"clients.my-spa.audiences": "other", "oauth.resources.other": "https://api.example.com/"}, "", ""},
		{"http", flags{"oauth.resources.my-api": "/api"}, "oauth.resources.my-api", "absolute"},
		{"http", flags{"oauth.resources.my-api": "https://api.example.com/#x"}, "oauth.resources.my-api", "fragment"},
		{"http", flags{"oauth.resources.my-api": "https://api.example.com/a b"}, "oauth.resources.my-api", "space"},
		{"http", flags{"tokens.audience": "a,b", "oauth.resources.a": "urn:x:y", "oauth.resources.b": "urn:x:y"}, "oauth.resources.b", "resource of a"},
		{"http", flags{"oauth.scopes.hello:read": "read your greetings"}, "", ""},
		{"http", flags{"oauth.scopes.hello:read": ""}, "oauth.scopes.hello:read", "1 to 200"},
		{"http", flags{"oauth.scopes.hello:read": "a\u202eb"}, "oauth.scopes.hello:read", "1 to 200"},
		{"http", flags{"oauth.scopes.a b": "x"}, "oauth.scopes.a b", "scope"},
		{"http", flags{"oauth.cimd.enabled": "true"}, "oauth.cimd.scopes", "is missing"},
		{"http", flags{"oauth.cimd.enabled": "true", "oauth.cimd.scopes": "openid", "oauth.cimd.insecure_loopback": "true", "oauth.cimd.hosts": "app.example.com,127.0.0.1,::1,localhost"}, "", ""},
		{"http", flags{"oauth.cimd.insecure_loopback": "true", "public_url": "https://auth.example.com", "trusted_proxies": "127.0.0.1"}, "oauth.cimd.insecure_loopback", "public_url is not on loopback"},
		{"http", flags{"oauth.cimd.hosts": "https://app.example.com"}, "oauth.cimd.hosts", "without scheme"},
		{"http", flags{"oauth.cimd.access_token": "10m"}, "oauth.cimd.access_token", "5m"},
		{"http", flags{"oauth.cimd.audiences": "other", "oauth.resources.other": "https://api.example.com/"}, "", ""},
		{"http", flags{"oauth.registration.enabled": "true"}, "oauth.registration.scopes", "is missing"},
		{"http", flags{"oauth.registration.enabled": "true", "oauth.registration.scopes": "openid", "oauth.registration.refresh_grace": "0s"}, "", ""},
		{"http", flags{"oauth.registration.initial_access_token": "admin"}, "oauth.registration.initial_access_token", "documentation"},
		{"http", flags{"oauth.registration.initial_access_token": secretText, "admin.token": secretText}, "oauth.registration.initial_access_token", "same as admin.token"},
		{"http", flags{"oauth.registration.per_minute": "0"}, "oauth.registration.per_minute", "0 is not from 1 to 10000"},
		{"http", flags{"oauth.registration.unused_after": "30m"}, "oauth.registration.unused_after", "30m is not whole seconds from 1h to 8760h"},
		{"http", flags{"pages.dir": filepath.Dir(key)}, "", ""},
		{"http", flags{"pages.dir": key}, "pages.dir", "not a directory"},
		{"http", flags{"pages.dir": missing}, "pages.dir", "no such file"},
		{"http", flags{"pages.dir": "pages"}, "pages.dir", "absolute"},

		{"http", flags{"admin.token": "admin"}, "admin.token", "documentation"},
		{"http", flags{"admin.token": secretText[1:]}, "admin.token", "32 characters"},
		{"http", flags{"admin.token": secretText + " "}, "admin.token", "ends with a space"},
		{"http", flags{"admin.token": secretText + " x"}, "admin.token", "header cannot have"},
		{"http", flags{"admin.metrics_token": secretText}, "", ""},
		{"http", flags{"admin.metrics_token": secretText[1:]}, "admin.metrics_token", "32 characters"},
		{"http", flags{"admin.metrics_token": secretText, "admin.token": secretText}, "admin.metrics_token", "same as admin.token"},
		{"http", flags{"admin.socket": "admin.sock"}, "admin.socket", "absolute"},
		{"http", flags{"admin.socket": "/" + strings.Repeat("a", 100)}, "admin.socket", "100 bytes"},

		{"http", flags{"claims.computed.https://example.com/b": "user.b"}, "", ""},
		{"http", flags{"admin": "x"}, "admin", "not a key"},
	} {
		var changes []string
		for k, v := range tt.flags {
			changes = append(changes, k+"="+v)
		}
		slices.Sort(changes)
		t.Run(tt.base+"/"+strings.Join(changes, " "), func(t *testing.T) {
			opts := config.Options{File: write(t, "c.yaml", base[tt.base]), Flags: flags{}}
			for key, value := range tt.flags {
				if secretKey.MatchString(key) { // flags take none
					key = strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToUpper(key))
					opts.Environ = append(opts.Environ, "TOKENBROKER_"+key+"="+value)
				} else {
					opts.Flags[key] = value
				}
			}
			if tt.key == "" {
				mustLoad(t, opts)
				return
			}
			ps := problems(t, opts)
			wantProblem(t, ps, tt.key, tt.fragment)
			if tt.flags != nil && len(ps) != 1 {
				t.Errorf("more than one problem:\n%v", ps)
			}
		})
	}
}

func TestRefusalsOfTheFile(t *testing.T) {
	for _, tt := range []struct{ content, key, fragment string }{
		{"a: [", "", "not yaml"},
		{"log:\n\tlevel: info\n", "", "indent by spaces"},
		{"a: b\n\x00", "", "not a text file"},
		{good + "---\nb: c\n", "", "more than one document"},
		{"[a]", "", "keys of its own"},
		{"x: &a 1\nlisten: *a\n", "listen", "alias"},
		{good + "log: {<<: {level: info}}\n", "log.<<", "not a key"},
		{good + "log: text\n", "log", "keys of its own"},
		{good + "Listen: :80\n", "Listen", "did you mean listen?"},
		{good + "access_token: 5m\n", "access_token", "did you mean lifetimes.access_token or clients.<name>.access_token or oauth.cimd.access_token or oauth.registration.access_token?"},
		{good + "log: {lvl: info}\n", "log.lvl", "did you mean log.level?"},
		{good + "origins: https://x.example\n", "origins", "want a list"},
		{good + "origins: [1]\n", "origins", "not text"},
		{good + "origins: ['']\n", "origins", "empty item"},
		{good + "listen: 8080\n", "listen", "quotes"},
		{good + "listen: {host: x}\n", "listen", "single value"},
		{good + "claims: {roles: yes}\n", "claims.roles", "true or false"},
		{good + "claims: {roles: 'true'}\n", "claims.roles", "without quotes"},
		{good + "admin: {token: 12345678901234567890123456789012}\n", "admin.token", "want text"},
		{good + "admin: {token: " + secretText + ", token_file: x}\n", "admin.token", "given twice"},
		{good + "admin: {socket_file: x}\n", "admin.socket_file", "not a key"},
		{good + "  job: {workloads: x}\n", "clients.job.workloads", "want a list"},
		{good + "  job: {workloads: [x]}\n", "clients.job.workloads", "item without keys"},
		{good + "  job: {workloads: [{issuer: 'https://ci.example.com', sub: job}]}\n", "clients.job.workloads", "issuer, subject, audience, jwks_uri"},
		{good + "  job: {workloads: [{subject: a, subject: b}]}\n", "clients.job.workloads", "twice"},
		{good + "  job: {workloads: [{subject: 1}]}\n", "clients.job.workloads", "not text"},
		{good + "  job: {workloads: [{issuer: 'https://ci.example.com', subject: job}]}\n", "clients.job.workloads", "no audience"},
		{good + "? [a]\n: b\n", "", "not text"},
		{good + "claims: {computed: {\"a\\x1fb\": c}}\n", "claims.computed", "not text"},
		{strings.Replace(good, "my-service:", "my.spa: {public: true}\n  my-service:", 1), "clients.my.spa", "same environment variables as clients.my-spa"},
	} {
		t.Run(tt.content, func(t *testing.T) {
			ps := problems(t, config.Options{File: write(t, "c.yaml", tt.content)})
			wantProblem(t, ps, tt.key, tt.fragment)
			for i := range ps[1:] {
				if ps[i] == ps[i+1] {
					t.Errorf("%v is told twice", ps[i])
				}
			}
		})
	}
}

func TestRefusalsOfTheEnvironment(t *testing.T) {
	for variable, want := range map[string]string{
		"TOKENBROKER_PUBLIC_ULR=https://x.example":        "did you mean TOKENBROKER_PUBLIC_URL?",
		"TOKENBROKER_CLIENTS_OTHER_SERVER_SECRET=x":       "clients that the file names",
		"TOKENBROKER_PORT=8080":                           "unset it",
		"TOKENBROKER_CLAIMS_COMPUTED_X=1":                 "unset it",
		"TOKENBROKER_ADMIN_TOKENFILE=/run/secrets/admin1": "did you mean TOKENBROKER_ADMIN_TOKEN_FILE?",
	} {
		name, _, _ := strings.Cut(variable, "=")
		wantProblem(t, problems(t, config.Options{File: write(t, "c.yaml", good), Environ: []string{variable}}), name, want)
	}
}

func TestAMissingFileIsOneProblem(t *testing.T) {
	ps := problems(t, config.Options{File: filepath.Join(t.TempDir(), "no.yaml")})
	wantProblem(t, ps, "", "config init")
	if len(ps) != 1 {
		t.Errorf("%v", ps)
	}
}
