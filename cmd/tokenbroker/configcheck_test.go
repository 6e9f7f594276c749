package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
)

// checkedFile is a valid configuration with an entry of each kind, so that every key can be set.
const checkedFile = `public_url: http://127.0.0.1:8080
data_dir: DIR/data
tokens: {audience: [api]}
browser: {client: spa}
clients:
  spa: {public: true}
  svc: {secret: 0123456789abcdef0123456789abcdef}
providers:
  cog: {kind: cognito, region: eu-central-1, user_pool: eu-central-1_abc123DEF, client_id: app}
  corp: {kind: oidc, issuer: 'https://id.example.com', client_id: app}
claims: {computed: {plan: '"free"'}}
nats: {services: {orders: {password: 0123456789abcdef}}}
`

// badValues are values of each key that serve refuses. A row may have several settings, as KEY=VALUE
// separated by spaces; the first is the key under test. DIR is a directory with the files that the rows
// name.
var badValues = map[string][]string{
	"public_url":                  {"public_url=http://example.com", "public_url=https://example.com/path"},
	"data_dir":                    {"data_dir=data", "data_dir=DIR/short", "data_dir=DIR/short/data", "data_dir=DIR/open", "data_dir=DIR/link"},
	"store.engine":                {"store.engine=postgresql", "store.engine="},
	"store.broker_name":           {"store.broker_name=a/b store.engine=etcd", "store.broker_name= store.engine=etcd", "store.broker_name=b1"},
	"store.etcd.endpoints":        {"store.etcd.endpoints=127.0.0.1:2379 store.engine=etcd", "store.etcd.endpoints=https://etcd-1 store.engine=etcd", "store.etcd.endpoints=https://u:p@etcd-1:2379 store.engine=etcd", "store.etcd.endpoints=https://etcd-1:2379,http://etcd-2:2379 store.engine=etcd", "store.etcd.endpoints= store.engine=etcd", "store.etcd.endpoints=https://etcd-1:2379,https://etcd-1:2379 store.engine=etcd", "store.etcd.endpoints=https://etcd-1:2379"},
	"store.etcd.prefix":           {"store.etcd.prefix=a store.engine=etcd", "store.etcd.prefix=/ store.engine=etcd", "store.etcd.prefix=a/b/ store.engine=etcd", "store.etcd.prefix=other/"},
	"store.etcd.ca_file":          {"store.etcd.ca_file=DIR/short store.engine=etcd", "store.etcd.ca_file=DIR/missing store.engine=etcd", "store.etcd.ca_file=DIR/cert.pem store.engine=etcd store.etcd.endpoints=http://127.0.0.1:2379"},
	"store.etcd.certificate_file": {"store.etcd.certificate_file=DIR/short store.etcd.key_file=DIR/short store.engine=etcd", "store.etcd.certificate_file= store.etcd.key_file=DIR/key.pem store.engine=etcd"},
	"store.etcd.key_file":         {"store.etcd.key_file=DIR/missing store.etcd.certificate_file=DIR/cert.pem store.engine=etcd"},
	"store.etcd.username":         {"store.etcd.username= store.etcd.password_file=DIR/good store.engine=etcd", "store.etcd.username=u"},
	"store.etcd.password":         {"store.etcd.password_file=DIR/missing store.engine=etcd", "store.etcd.password_file=DIR/good"},
	"store.postgres.url": {
		"store.postgres.url= store.engine=postgres", "store.postgres.url=postgres://u:secret@db-1/db?sslmode=verify-full store.engine=postgres",
		"store.postgres.url=postgres://u@db-1/db store.engine=postgres", "store.postgres.url=postgres://u@db-1/db?sslmode=verify-full",
		"store.postgres.url=postgres://u@db-1/db?sslmode=verify-full&options=-cfsync=off store.engine=postgres store.broker_name=b1 keyring.kek_file=DIR/kek nats.url=nats://127.0.0.1:1",
		"store.postgres.url=postgres://u@db-1/db?sslmode=verify-full&sslrootcert=DIR/missing store.engine=postgres store.broker_name=b1 keyring.kek_file=DIR/kek nats.url=nats://127.0.0.1:1",
	},
	"store.postgres.password":        {"store.postgres.password_file=DIR/missing store.engine=postgres", "store.postgres.password_file=DIR/good"},
	"store.postgres.schema":          {"store.postgres.schema=A store.engine=postgres", "store.postgres.schema=1 store.engine=postgres", "store.postgres.schema=other"},
	"store.postgres.durability":      {"store.postgres.durability=none store.engine=postgres", "store.postgres.durability=local"},
	"store.postgres.max_connections": {"store.postgres.max_connections=1 store.engine=postgres", "store.postgres.max_connections=20"},
	"store.postgres.notify":          {"store.postgres.notify=0 store.engine=postgres", "store.postgres.notify=false"},
	"listen":                         {"listen=8080", "listen=a!b:8080", "listen=127.0.0.256:8080", "listen=*:8080", "listen=127.0.0.1:http"},
	"tls.cert_file":                  {"tls.cert_file=DIR/missing tls.key_file=DIR/short public_url=https://127.0.0.1:8080", "tls.cert_file=DIR/short tls.key_file=DIR/short public_url=https://127.0.0.1:8080"},
	"tls.key_file":                   {"tls.key_file=DIR/missing tls.cert_file=DIR/cert.pem public_url=https://127.0.0.1:8080"},
	"trusted_proxies":                {"trusted_proxies=proxy.internal", "trusted_proxies=0.0.0.0/0", "trusted_proxies=fe80::1%eth0"},
	"connections.max":                {"connections.max=15", "connections.max=-1"},
	"connections.per_address":        {"connections.per_address=0", "connections.per_address=x"},
	"origins":                        {"origins=*", "origins=https://app.example.org", "origins=http://127.0.0.1/path"},
	"cookie.name":                    {"cookie.name=a!b", "cookie.name=", "cookie.name=__Host-x", "cookie.name=a'b", "cookie.name=a~b", "cookie.name=a;b"},
	"cookie.path":                    {"cookie.path=/app", "cookie.path=", "cookie.path=/auth/"},
	"cookie.secure":                  {"cookie.secure=true", "cookie.secure=maybe"},
	"lifetimes.access_token":         {"lifetimes.access_token=0s", "lifetimes.access_token=61m", "lifetimes.access_token=1500ms", "lifetimes.access_token=5"},
	"lifetimes.session_idle":         {"lifetimes.session_idle=91d", "lifetimes.session_idle=1s"},
	"lifetimes.session_absolute":     {"lifetimes.session_absolute=-1s"},
	"lifetimes.refresh_grace":        {"lifetimes.refresh_grace=301s", "lifetimes.refresh_grace=-1s", "lifetimes.refresh_grace=4s store.engine=etcd"},
	"lifetimes.jwks_cache":           {"lifetimes.jwks_cache=1500ms", "lifetimes.jwks_cache=25h"},
	"sessions.max_per_user":          {"sessions.max_per_user=0", "sessions.max_per_user=1001"},
	"tokens.algorithm":               {"tokens.algorithm=HS256", "tokens.algorithm="},
	"tokens.audience":                {"tokens.audience=", "tokens.audience=a,a"},
	"browser.client":                 {"browser.client=", "browser.client=svc", "browser.client=other"},
	"browser.scopes":                 {"browser.scopes=a\"b", "browser.scopes=other"},
	"browser.home_url":               {"browser.home_url=https://example.com/", "browser.home_url=/home", "browser.home_url=http://127.0.0.1:8080/a\\b"},
	"browser.signed_out_url":         {"browser.signed_out_url=http://127.0.0.1:8080/#a", "browser.signed_out_url=https://example.com/"},
	"clients.<id>.public":            {"clients.spa.public=maybe"},
	"clients.<id>.secret":            {"clients.svc.secret_file=DIR/short", "clients.svc.secret_file=DIR/missing"},
	"clients.<id>.secret_hash":       {"clients.other.secret_hash=abc", "clients.other.secret_hash=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	"clients.<id>.scopes":            {"clients.svc.scopes=a b"},

	"clients.<id>.previous_secret":            {"clients.svc.previous_secret_file=DIR/short", "clients.svc.previous_secret_file=DIR/missing"},
	"clients.<id>.previous_secret_hash":       {"clients.svc.previous_secret_hash=abc"},
	"clients.<id>.name":                       {"clients.svc.name=\u202e", "clients.svc.name=" + strings.Repeat("a", 300)},
	"clients.<id>.default_scopes":             {"clients.svc.default_scopes=other"},
	"clients.<id>.audiences":                  {"clients.svc.audiences=" + strings.Repeat("a", 300)},
	"clients.<id>.grants":                     {"clients.svc.grants=password", "clients.spa.grants=client_credentials", "clients.spa.grants=token_exchange"},
	"clients.<id>.redirect_uris":              {"clients.svc.redirect_uris=http://example.com/", "clients.svc.redirect_uris=https://example.com/#a", "clients.svc.redirect_uris=https://*.example.com/", "clients.svc.redirect_uris=javascript:alert(1)"},
	"clients.<id>.post_logout_redirect_uris":  {"clients.svc.post_logout_redirect_uris=http://example.com/"},
	"clients.<id>.origins":                    {"clients.svc.origins=*", "clients.svc.origins=https://example.com/path"},
	"clients.<id>.first_party":                {"clients.svc.first_party=maybe"},
	"clients.<id>.access_token":               {"clients.svc.access_token=6m", "clients.svc.access_token=-1s"},
	"clients.<id>.session_idle":               {"clients.svc.session_idle=15d"},
	"clients.<id>.session_absolute":           {"clients.svc.session_absolute=91d"},
	"clients.<id>.refresh_grace":              {"clients.svc.refresh_grace=6m", "clients.svc.refresh_grace=-1s"},
	"clients.<id>.jwks_file":                  {"clients.svc.jwks_file=DIR/missing", "clients.svc.jwks_file=DIR/short"},
	"clients.<id>.jwks_uri":                   {"clients.svc.jwks_uri=http://example.com/jwks.json"},
	"clients.<id>.workloads":                  {"clients.svc.workloads=a"},
	"oauth.resources.<audience>":              {"oauth.resources.api=orders", "oauth.resources.api=https://api.example.com/#a", "oauth.resources.other=https://api.example.com/"},
	"oauth.scopes.<scope>":                    {"oauth.scopes.a=", "oauth.scopes.a=" + strings.Repeat("a", 300)},
	"oauth.scopes_supported":                  {"oauth.scopes_supported=", "oauth.scopes_supported=a\"b", "oauth.scopes_supported=a,a"},
	"oauth.cimd.enabled":                      {"oauth.cimd.enabled=maybe"},
	"oauth.cimd.scopes":                       {"oauth.cimd.scopes= oauth.cimd.enabled=true", "oauth.cimd.scopes=a\"b", "oauth.cimd.scopes=a,a"},
	"oauth.cimd.audiences":                    {"oauth.cimd.audiences=a,a", "oauth.cimd.audiences=" + strings.Repeat("a", 300)},
	"oauth.cimd.refresh_tokens":               {"oauth.cimd.refresh_tokens=maybe"},
	"oauth.cimd.access_token":                 {"oauth.cimd.access_token=6m", "oauth.cimd.access_token=-1s"},
	"oauth.cimd.session_idle":                 {"oauth.cimd.session_idle=15d", "oauth.cimd.session_idle=1m"},
	"oauth.cimd.session_absolute":             {"oauth.cimd.session_absolute=91d"},
	"oauth.cimd.refresh_grace":                {"oauth.cimd.refresh_grace=6m", "oauth.cimd.refresh_grace=4s store.engine=etcd"},
	"oauth.cimd.insecure_loopback":            {"oauth.cimd.insecure_loopback=maybe", "oauth.cimd.insecure_loopback=true public_url=https://auth.example.com"},
	"oauth.cimd.hosts":                        {"oauth.cimd.hosts=https://app.example.com", "oauth.cimd.hosts=*.example.com", "oauth.cimd.hosts=App.example.com", "oauth.cimd.hosts=app.example.com/a", "oauth.cimd.hosts=u@app.example.com", "oauth.cimd.hosts=app.example.com:8443", "oauth.cimd.hosts=[::1]", "oauth.cimd.hosts=a.example,a.example"},
	"oauth.registration.enabled":              {"oauth.registration.enabled=maybe"},
	"oauth.registration.scopes":               {"oauth.registration.scopes= oauth.registration.enabled=true", "oauth.registration.scopes=a\"b", "oauth.registration.scopes=a,a"},
	"oauth.registration.audiences":            {"oauth.registration.audiences=a,a", "oauth.registration.audiences=" + strings.Repeat("a", 300)},
	"oauth.registration.refresh_tokens":       {"oauth.registration.refresh_tokens=maybe"},
	"oauth.registration.access_token":         {"oauth.registration.access_token=6m", "oauth.registration.access_token=-1s"},
	"oauth.registration.session_idle":         {"oauth.registration.session_idle=15d", "oauth.registration.session_idle=1m"},
	"oauth.registration.session_absolute":     {"oauth.registration.session_absolute=91d"},
	"oauth.registration.refresh_grace":        {"oauth.registration.refresh_grace=6m", "oauth.registration.refresh_grace=4s store.engine=etcd"},
	"oauth.registration.initial_access_token": {"oauth.registration.initial_access_token_file=DIR/short", "oauth.registration.initial_access_token_file=DIR/missing", "oauth.registration.initial_access_token_file=DIR/good admin.token_file=DIR/good"},
	"oauth.registration.per_minute":           {"oauth.registration.per_minute=0", "oauth.registration.per_minute=10001", "oauth.registration.per_minute=-1"},
	"oauth.registration.max_clients":          {"oauth.registration.max_clients=0", "oauth.registration.max_clients=10001"},
	"oauth.registration.unused_after":         {"oauth.registration.unused_after=59m", "oauth.registration.unused_after=8761h", "oauth.registration.unused_after=3601500ms", "oauth.registration.unused_after=30"},
	"pages.dir":                               {"pages.dir=pages", "pages.dir=DIR/missing", "pages.dir=DIR/short"},

	"providers.<name>.kind":                      {"providers.cog.kind=saml", "providers.cog.kind="},
	"providers.<name>.region":                    {"providers.cog.region=frankfurt", "providers.corp.region=us-east-1"},
	"providers.<name>.user_pool":                 {"providers.cog.user_pool=abc", "providers.corp.user_pool=us-east-1_abc"},
	"providers.<name>.domain":                    {"providers.cog.domain=login", "providers.corp.domain=https://login.example.com"},
	"providers.<name>.issuer":                    {"providers.corp.issuer=http://id.example.com", "providers.corp.issuer=https://id.example.com?x", "providers.cog.issuer=https://id.example.com"},
	"providers.<name>.client_id":                 {"providers.cog.client_id="},
	"providers.<name>.client_secret":             {"providers.cog.client_secret_file=DIR/missing", "providers.cog.client_secret_file=DIR/empty"},
	"providers.<name>.insecure_dev_endpoint":     {"providers.cog.insecure_dev_endpoint=http://192.0.2.1:9090", "providers.corp.insecure_dev_endpoint=http://127.0.0.1:9090"},
	"providers.<name>.allowed_client_ids":        {"providers.cog.allowed_client_ids=a,a"},
	"providers.<name>.endpoint_hosts":            {"providers.corp.endpoint_hosts=https://keys.example.com"},
	"providers.<name>.scopes":                    {"providers.cog.scopes=a b"},
	"providers.<name>.algorithms":                {"providers.corp.algorithms=HS256", "providers.cog.algorithms=RS256"},
	"providers.<name>.exchange":                  {"providers.cog.exchange=maybe"},
	"providers.<name>.max_token_age":             {"providers.cog.max_token_age=-1s", "providers.cog.max_token_age=10"},
	"providers.<name>.skip_email_verified_check": {"providers.cog.skip_email_verified_check=maybe"},

	"claims.attributes":      {"claims.attributes=sub", "claims.attributes=a,a", "claims.attributes=a,A"},
	"claims.computed.<name>": {"claims.computed.plan=user.", "claims.computed.plan=", "claims.computed.plan= ", "claims.computed.plan=user claims.attributes=plan", "claims.computed.sub=user.id"},
	"claims.roles":           {"claims.roles=maybe"},
	"claims.groups":          {"claims.groups=maybe"},
	"user_object":            {"user_object=id,id", "user_object=\u00fc"},

	"nats.url":                    {"nats.url= store.engine=etcd", "nats.url=http://n:4222", "nats.url=nats://u:p@n", "nats.url=nats://n:99999"},
	"nats.user":                   {"nats.user=u"},
	"nats.password":               {"nats.password_file=DIR/good"},
	"nats.credentials_file":       {"nats.credentials_file=DIR/short nats.url=nats://127.0.0.1:1", "nats.credentials_file=DIR/missing nats.url=nats://127.0.0.1:1"},
	"nats.ca_file":                {"nats.ca_file=DIR/short nats.url=nats://127.0.0.1:1", "nats.ca_file=DIR/missing nats.url=nats://127.0.0.1:1"},
	"nats.listen":                 {"nats.listen=4222", "nats.listen=127.0.0.1:8080", "nats.listen=a b:4222"},
	"nats.service_user":           {"nats.service_user= nats.service_password_file=DIR/good"},
	"nats.service_password":       {"nats.service_password_file=DIR/short nats.service_user=shared"},
	"nats.services.<id>.password": {"nats.services.orders.password_file=DIR/short", "nats.services.orders.password_file=DIR/missing"},
	"nats.tls_cert_file":          {"nats.tls_cert_file=DIR/short nats.tls_key_file=DIR/short"},
	"nats.tls_key_file":           {"nats.tls_key_file=DIR/missing nats.tls_cert_file=DIR/cert.pem"},
	"admin.socket":                {"admin.socket=admin.sock", "admin.socket=/" + strings.Repeat("a", 100), "admin.socket=DIR/open/admin.sock"},
	"admin.listen":                {"admin.listen=8081", "admin.listen=:8081", "admin.listen=127.0.0.1:8080"},
	"admin.token":                 {"admin.token_file=DIR/short", "admin.token_file=DIR/missing"},
	"admin.tls_cert_file":         {"admin.tls_cert_file=DIR/short admin.tls_key_file=DIR/short"},
	"admin.tls_key_file":          {"admin.tls_key_file=DIR/missing admin.tls_cert_file=DIR/cert.pem"},
	"admin.metrics_token":         {"admin.metrics_token_file=DIR/short"},
	"admin.hosts":                 {"admin.hosts=*", "admin.hosts=", "admin.hosts=localhost:8081"},
	"keyring.kek":                 {"keyring.kek_file= store.engine=etcd", "keyring.kek_file=DIR/good", "keyring.kek_file=DIR/zeros"},
	"keyring.rotate_every":        {"keyring.rotate_every=59m", "keyring.rotate_every=401d", "keyring.rotate_every=1h lifetimes.jwks_cache=31m"},
	"log.level":                   {"log.level=verbose", "log.level="},
	"log.format":                  {"log.format=xml"},
	"log.audit":                   {"log.audit=maybe"},
}

// TestBadValuesOfEveryKey checks that 'config check' refuses each value and names its key, and that serve
// refuses it with the same message before it creates its data directory.
func TestBadValuesOfEveryKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string, mode fs.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("short", "short", 0o600)
	write("good", strings.Repeat("g", 40), 0o600)
	write("zeros", strings.Repeat("A", 43)+"=", 0o600)
	write("kek", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", 0o600)
	write("empty", "", 0o600)
	writeCertificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "open"), 0o700), os.Chmod(filepath.Join(dir, "open"), 0o755), os.Symlink(dir, filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	write("c.yaml", strings.ReplaceAll(checkedFile, "DIR", dir), 0o600)
	file := filepath.Join(dir, "c.yaml")
	if got := command(t, nil, "config", "check", "--config", file); got.code != terminal.ExitOK {
		t.Fatalf("the valid configuration: exit %d: %s", got.code, got.stderr)
	}

	var keys []string
	for _, doc := range config.Reference() {
		keys = append(keys, doc.Key)
		if len(badValues[doc.Key]) == 0 {
			t.Errorf("%s has no bad value in this test", doc.Key)
		}
	}
	write("url.yaml", strings.ReplaceAll(regexp.MustCompile("(?m)^nats:.*$").ReplaceAllString(checkedFile, "nats: {url: 'nats://127.0.0.1:1'}"), "DIR", dir), 0o600)
	for documented, rows := range badValues {
		if !slices.Contains(keys, documented) {
			t.Errorf("%s is not a key", documented)
		}
		for _, row := range rows {
			t.Run(row, func(t *testing.T) {
				t.Parallel()
				args, key := []string{"--config", file}, ""
				if strings.Contains(row, " nats.url=") {
					args[1] = filepath.Join(dir, "url.yaml")
				}
				for i, assignment := range splitSettings(strings.ReplaceAll(row, "DIR", dir)) {
					args = append(args, "--set", assignment)
					if i == 0 {
						key, _, _ = strings.Cut(assignment, "=")
						if documented != key {
							key = strings.TrimSuffix(key, "_file")
						}
					}
				}
				check := command(t, nil, append([]string{"config", "check"}, args...)...)
				if check.code != terminal.ExitFailed || !strings.Contains(check.stderr, "  "+key) {
					t.Errorf("config check: exit %d, want a problem with %s:\n%s", check.code, key, check.stderr)
				}
				serve := command(t, nil, append([]string{"serve"}, args...)...)
				if serve.code != terminal.ExitFailed || serve.stderr != check.stderr {
					t.Errorf("serve: exit %d:\n%s\nwant the message of config check:\n%s", serve.code, serve.stderr, check.stderr)
				}
				if _, err := os.Lstat(filepath.Join(dir, "data")); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the data directory was created: %v", err)
				}
			})
		}
	}
}

// splitSettings splits a row at the spaces before a key.
func splitSettings(row string) []string {
	var settings []string
	for _, word := range strings.Split(row, " ") {
		if name, _, ok := strings.Cut(word, "="); len(settings) > 0 && (!ok || !strings.Contains(name, ".") && name != "public_url") {
			settings[len(settings)-1] += " " + word
			continue
		}
		settings = append(settings, word)
	}
	return settings
}
