package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

const (
	shopJSON = `{"id":"shop","name":"Shop","public":false,"dynamic":true,"has_secret":true,"has_previous_secret":true,"previous_secret_until":"2026-01-03T03:04:05Z",` +
		`"grants":["authorization_code"],"scopes":["openid"],"redirect_uris":["https://shop.example/cb"],"first_party":false,"access_token":"2m","refresh_grace":"0s",` +
		`"workloads":[{"issuer":"https://ci.example","subject":"job","audience":"broker"}],"created_at":"2026-01-02T03:04:05Z"}`
	shopSecretJSON = `{"id":"shop","public":false,"dynamic":true,"has_secret":true,"grants":[],"first_party":false,"secret":"s3cret"}`
	registeredJSON = `{"id":"registered-a","name":"Notebook","public":true,"dynamic":true,"class":"registered","has_secret":false,"grants":["authorization_code"],` +
		`"scopes":["openid"],"first_party":false,"created_at":"2026-01-02T03:04:05Z","expires_at":"2026-02-01T03:04:05Z"}`
	documentJSON = `{"id":"https://app.example/client.json","public":true,"dynamic":true,"class":"document","has_secret":false,"grants":[],"first_party":false,` +
		`"created_at":"2026-01-02T03:04:05Z"}`
	shopText = `id              shop
name            Shop
kind            confidential
source          operator
secret          yes; the one before is valid until 2026-01-03T03:04:05Z
grants          authorization_code
scopes          openid
default scopes  -
audiences       -
first party     false
redirect URI    https://shop.example/cb
access token    2m
refresh grace   0s
workload        https://ci.example job broker
created         2026-01-02T03:04:05Z
`
)

func TestClientCommands(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[{"n":12345678901234567890}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const notAgain = "The secret is not shown again.\n"
	for _, c := range []struct {
		name, line     string
		args           []string
		answer, asked  string
		stdout, stderr string
	}{
		{
			"add", "POST /admin/v1/clients", []string{"add", "shop", "--name", "Shop", "--grant", "authorization_code", "--grant", "refresh_token", "--redirect-uri", "https://a.example/cb",
				"--post-logout-uri", "https://a.example/", "--origin", "https://a.example", "--scope", "a", "--default-scope", "a", "--audience", "api", "--first-party",
				"--access-token", "2m", "--session-idle", "1h", "--session-absolute", "8h", "--refresh-grace", "0s"},
			shopSecretJSON, `{"id":"shop","name":"Shop","scopes":["a"],"default_scopes":["a"],"audiences":["api"],"grants":["authorization_code","refresh_token"],` +
				`"redirect_uris":["https://a.example/cb"],"post_logout_redirect_uris":["https://a.example/"],"origins":["https://a.example"],"first_party":true,` +
				`"access_token":"2m","session_idle":"1h","session_absolute":"8h","refresh_grace":"0s"}`,
			"added shop\nsecret: s3cret\n", notAgain,
		},
		{
			"add a workload", "POST /admin/v1/clients", []string{"add", "job", "--workload", "https://ci.example,job,broker", "--workload", "urn:k8s,sa,broker,https://k8s.example/keys", "--jwks-file", keys},
			shopJSON, `{"id":"job","jwks":{"keys":[{"n":12345678901234567890}]},"workloads":[{"issuer":"https://ci.example","subject":"job","audience":"broker"},` +
				`{"issuer":"urn:k8s","subject":"sa","audience":"broker","jwks_uri":"https://k8s.example/keys"}]}`,
			"added shop\n", "",
		},
		{"add a public client", "POST /admin/v1/clients", []string{"add", "spa", "--public"}, shopJSON, `{"id":"spa","public":true}`, "added shop\n", ""},
		{
			"list", "GET /admin/v1/clients?limit=1000", []string{"list"}, `{"clients":[` + shopJSON + `],"unreadable":1}`, "",
			"ID    NAME  KIND          SOURCE    GRANTS              SCOPES  CREATED               EXPIRES\n" +
				"shop  Shop  confidential  operator  authorization_code  openid  2026-01-02T03:04:05Z  -\n",
			"Left out: 1 damaged, which the server cannot read; its log names them.\n",
		},
		{
			"list of clients that describe themselves", "GET /admin/v1/clients?limit=1000", []string{"list"}, `{"clients":[` + documentJSON + `,` + registeredJSON + `]}`, "",
			"ID                               NAME      KIND    SOURCE      GRANTS              SCOPES  CREATED               EXPIRES\n" +
				"https://app.example/client.json  -         -       document    -                   -       2026-01-02T03:04:05Z  -\n" +
				"registered-a                     Notebook  public  registered  authorization_code  openid  2026-01-02T03:04:05Z  2026-02-01T03:04:05Z\n", "",
		},
		{"list of none", "GET /admin/v1/clients?limit=1000", []string{"list"}, `{"clients":[]}`, "", "no clients\n", ""},
		{"show", "GET /admin/v1/clients/shop", []string{"show", "shop"}, shopJSON, "", shopText, ""},
		{
			"show a client that registered itself", "GET /admin/v1/clients/registered-a", []string{"show", "registered-a"}, registeredJSON, "",
			"id                          registered-a\nname                        Notebook\nkind                        public\nsource                      registered\n" +
				"secret                      no\ngrants                      authorization_code\nscopes                      openid\ndefault scopes              -\n" +
				"audiences                   -\nfirst party                 false\ncreated                     2026-01-02T03:04:05Z\nremoved unless used before  2026-02-01T03:04:05Z\n", "",
		},
		{
			"show a client of a document", "GET /admin/v1/clients/https:%2F%2Fapp.example%2Fclient.json", []string{"show", "https://app.example/client.json"}, documentJSON, "",
			"id              https://app.example/client.json\nname            -\nkind            -\nsource          document\n" +
				"secret          no\ngrants          -\nscopes          -\ndefault scopes  -\naudiences       -\nfirst party     false\ncreated         2026-01-02T03:04:05Z\n", "",
		},
		{
			"update", "PATCH /admin/v1/clients/shop", []string{"update", "shop", "--scope", "openid", "--origin", "", "--name", "", "--first-party=false", "--jwks-file", "", "--workload", ""},
			shopJSON, `{"name":"","scopes":["openid"],"origins":[],"first_party":false,"jwks":{},"workloads":[]}`, shopText, "",
		},
		{
			"rotate-secret", "POST /admin/v1/clients/shop/secret", []string{"rotate-secret", "shop"}, strings.Replace(shopSecretJSON, `"has_secret"`, `"has_previous_secret":true,"previous_secret_until":"2026-01-03T03:04:05Z","has_secret"`, 1),
			`{"overlap":"24h0m0s"}`, "rotated the secret of shop; the one before is valid until 2026-01-03T03:04:05Z\nsecret: s3cret\n", notAgain,
		},
		{
			"rotate-secret at once", "POST /admin/v1/clients/shop/secret", []string{"rotate-secret", "shop", "--overlap", "0", "--yes", "--note", "leaked"}, shopSecretJSON,
			`{"overlap":"0s","note":"leaked"}`, "rotated the secret of shop\nsecret: s3cret\n", notAgain,
		},
		{
			"remove", "DELETE /admin/v1/clients/shop", []string{"remove", "shop", "--yes"}, doneJSON, `{}`,
			"removed shop and ended all its sessions: recorded, and broadcast to the services\n", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := serveFake(t, map[string]answer{c.line: {200, c.answer}})
			got := command(t, nil, append([]string{"clients"}, c.args...)...)
			if diff := cmp.Diff(ran{terminal.ExitOK, c.stdout, c.stderr}, got, cmp.AllowUnexported(ran{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{strings.TrimSpace(c.line + " " + c.asked)}, fake.asked); diff != "" {
				t.Errorf("asked: %s", diff)
			}
			asJSON := command(t, nil, append([]string{"clients", "--output", "json"}, c.args...)...)
			if diff := cmp.Diff(document(t, c.answer), document(t, asJSON.stdout)); diff != "" || asJSON.stderr != "" {
				t.Errorf("as JSON: %s%s", asJSON.stderr, diff)
			}
		})
	}
}

func TestClientCommandsThatAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"add"}, {"show"}, {"remove", "shop"}, {"rotate-secret", "shop", "--overlap", "0s"}, {"rotate-secret", "shop", "--overlap", "5"},
		{"update", "shop"}, {"add", "a", "--workload", "https://ci.example,job"},
	} {
		fake := serveFake(t, nil)
		if got := command(t, strings.NewReader(""), append([]string{"clients"}, args...)...); got.code != terminal.ExitUsage || len(fake.asked) > 0 {
			t.Errorf("%v: exit code %d, asked %v: %s", args, got.code, fake.asked, got.stderr)
		}
	}
}

// A reload applies changed clients, and two secrets overlap during a rotation. A client that an operator added stays over
// reloads, over a restart with another configuration, and over a restore.
func TestClientsOverReloadRestartAndRestore(t *testing.T) {
	const first, second = "4Zq0pVdN0vYw1uLq7tJ8mR3sXc6bKe9f", "9fKe6bXc3sR8mJ7tLq1uYw0vNdpV0qZ4"
	s := newServed(t, "http")
	text := readFile(t, s.config)
	clients := func(lines string) {
		t.Helper()
		if err := os.WriteFile(s.config, []byte(strings.Replace(text, "\nclients:\n", "\nclients:\n"+lines, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reload := func() {
		t.Helper()
		s.logs.Reset()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the reload", func() bool { return strings.Contains(s.logs.String(), "configuration reloaded") })
		if strings.Contains(s.logs.String(), "need a restart") {
			t.Errorf("log: %s", s.logs.String())
		}
	}
	accepted := func(id, secret string, want bool) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.issuer+"/oauth2/introspect", strings.NewReader(url.Values{"token": {"x"}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(id, secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if (resp.StatusCode == http.StatusOK) != want {
			t.Errorf("%s: status %d, want accepted: %v", id, resp.StatusCode, want)
		}
	}
	clients("  svc: {secret: " + first + "}\n")
	s.start(t)
	var shop struct{ Secret string }
	if err := json.Unmarshal([]byte(s.operate(t, terminal.ExitOK, "clients", "add", "shop", "--output", "json")), &shop); err != nil || shop.Secret == "" {
		t.Fatal(err)
	}
	accepted("shop", shop.Secret, true)
	accepted("svc", first, true)

	clients("  svc: {secret: " + second + ", previous_secret: " + first + "}\n")
	reload()
	accepted("svc", first, true)
	accepted("svc", second, true)
	clients("  svc: {secret: " + second + "}\n  other: {secret: " + first + "}\n")
	reload()
	accepted("svc", first, false)
	accepted("svc", second, true)
	accepted("other", first, true)
	clients("")
	reload()
	accepted("svc", second, false)
	accepted("other", first, false)
	accepted("shop", shop.Secret, true)

	file := filepath.Join(t.TempDir(), "backup")
	s.operate(t, terminal.ExitOK, "backup", file)
	s.finish(t)
	clients("  new: {secret: " + first + "}\n")
	s.start(t)
	accepted("new", first, true)
	accepted("shop", shop.Secret, true)
	s.operate(t, terminal.ExitOK, "clients", "remove", "shop", "--yes")
	accepted("shop", shop.Secret, false)
	s.finish(t)
	if got := command(t, nil, "restore", file, "--config", s.config, "--yes"); got.code != terminal.ExitOK {
		t.Fatal(got.stderr)
	}
	s.start(t)
	accepted("shop", shop.Secret, true)
	s.finish(t)
}
