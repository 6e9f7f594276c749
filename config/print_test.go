package config_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tokenbroker/config"
)

func TestPrintShowsValuesAndSourcesAndNoSecret(t *testing.T) {
	file := write(t, "c.yaml", base["cognito"]+"claims: {computed: {mail: 'user.email + \" \"'}}\n")
	loaded := mustLoad(t, config.Options{File: file, Environ: []string{"TOKENBROKER_ADMIN_TOKEN=" + secretText}, Flags: map[string]string{"lifetimes.access_token": "90s"}})
	var text, asJSON bytes.Buffer
	if err := loaded.Print(&text, "text"); err != nil {
		t.Fatal(err)
	}
	if err := loaded.Print(&asJSON, "json"); err != nil {
		t.Fatal(err)
	}
	if err := loaded.Print(&text, "xml"); err == nil {
		t.Error("prints xml")
	}
	for _, want := range []string{
		"public_url: http://127.0.0.1:8080  # " + file + ":1\n", "listen: 127.0.0.1:8080  # default\n", "cookie.secure: false  # default\n", "lifetimes.access_token: 1m30s  # flag --lifetimes-access-token\n",
		"lifetimes.session_idle: 14d  # default\n", "clients.my-service.secret: (set)  # " + file + ":7\n", "clients.my-spa.secret:  # default\n", "admin.token: (set)  # environment TOKENBROKER_ADMIN_TOKEN\n",
		"admin.hosts: [127.0.0.1, \"::1\", localhost]  # default\n", "providers.cognito.max_token_age:  # default\n", "providers.cognito.user_pool: eu-central-1_abc123DEF  # ", "keyring.kek:  # default\n", "claims.computed.mail: ",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text.String())
		}
	}
	var values []struct {
		Key, Source string
		Value       any
	}
	if err := json.Unmarshal(asJSON.Bytes(), &values); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "\n"); n != len(values) || n < 50 {
		t.Errorf("%d lines of text, %d values of json", n, len(values))
	}
	if strings.Contains(text.String()+asJSON.String(), secretText) {
		t.Errorf("shows a secret:\n%s%s", text.String(), asJSON.String())
	}
}

func TestChangesDistinguishReloadFromRestart(t *testing.T) {
	certPEM, keyPEM := newPair(t, nil)
	cert, cert2, key := write(t, "a.pem", certPEM), write(t, "b.pem", certPEM), write(t, "k.pem", keyPEM)
	https := base["https"]
	natsTLS := https + "nats: {tls_cert_file: " + cert + ", tls_key_file: " + key + "}\n"
	withTLS := https + "tls: {cert_file: " + cert + ", key_file: " + key + "}\n"
	adminTLS := https + "admin: {tls_cert_file: " + cert + ", tls_key_file: " + key + "}\n"
	withWorkload := func(subject string) string {
		return https + "  job: {workloads: [{issuer: 'https://ci.example.com', subject: " + subject + ", audience: broker}]}\n"
	}
	for name, tt := range map[string]struct {
		before, after   string
		reload, restart []string
	}{
		"none":        {https, https, nil, nil},
		"level":       {https, https + "log: {level: debug, format: json}\n", []string{"log.level"}, []string{"log.format"}},
		"origins":     {https, https + "origins: [https://app.example.com]\n", []string{"origins"}, nil},
		"empty list":  {https, https + "origins: []\n", nil, nil},
		"other cert":  {withTLS, strings.Replace(withTLS, cert, cert2, 1), []string{"tls.cert_file"}, nil},
		"first cert":  {https, withTLS, nil, []string{"tls.cert_file", "tls.key_file"}},
		"nats cert":   {natsTLS, strings.Replace(natsTLS, cert, cert2, 1), []string{"nats.tls_cert_file"}, nil},
		"first nats":  {https, natsTLS, nil, []string{"nats.tls_cert_file", "nats.tls_key_file"}},
		"admin cert":  {adminTLS, strings.Replace(adminTLS, cert, cert2, 1), []string{"admin.tls_cert_file"}, nil},
		"secret":      {https, strings.Replace(https, secretText, secretText+"x", 1), []string{"clients.my-service.secret"}, nil},
		"new client":  {https, https + "  app: {public: true}\n", []string{"clients.app"}, nil},
		"lost client": {https + "  app: {public: true}\n", https, []string{"clients.app"}, nil},
		"rotation": {https, strings.Replace(https, "secret: "+secretText, "secret: "+secretText+"x, previous_secret: "+secretText, 1),
			[]string{"clients.my-service.previous_secret", "clients.my-service.secret"}, nil},
		"workloads": {withWorkload("job"), withWorkload("other"), []string{"clients.job.workloads"}, nil},
		"grace":     {https + "  app: {public: true}\n", https + "  app: {public: true, refresh_grace: 0s}\n", []string{"clients.app.refresh_grace"}, nil},
		"oauth":     {https, https + "oauth: {scopes: {a: read}}\n", nil, []string{"oauth.scopes.a"}},
		"classes": {https, https + "oauth: {scopes_supported: [openid], cimd: {enabled: true, scopes: [openid]}, registration: {access_token: 1m}}\n", nil,
			[]string{"oauth.cimd.enabled", "oauth.cimd.scopes", "oauth.registration.access_token", "oauth.scopes_supported"}},
		"public url": {https, good + "trusted_proxies: [127.0.0.1]\n", nil, []string{"cookie.path", "cookie.secure", "public_url"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := mustLoad(t, config.Options{File: write(t, "c.yaml", tt.before)}).Config
			after := mustLoad(t, config.Options{File: write(t, "c.yaml", tt.after)}).Config
			reload, restart := config.Changes(before, after)
			if !slices.Equal(reload, tt.reload) || !slices.Equal(restart, tt.restart) {
				t.Errorf("reload %v, restart %v, want %v and %v", reload, restart, tt.reload, tt.restart)
			}
		})
	}
}

func TestReferenceIsComplete(t *testing.T) {
	docs := config.Reference()
	if len(docs) < 55 {
		t.Errorf("%d keys", len(docs))
	}
	envs := map[string]bool{}
	for _, d := range docs {
		if d.Meaning == "" {
			t.Errorf("%s has no meaning", d.Key)
		}
		if d.Env != "" && envs[d.Env] {
			t.Errorf("%s is the variable of two keys", d.Env)
		}
		envs[d.Env] = true
	}
	table := config.ReferenceTable()
	for _, want := range []string{
		"| `lifetimes.access_token` | `TOKENBROKER_LIFETIMES_ACCESS_TOKEN` | `5m` | Life of an access token, 1s to 1h. |\n",
		"| `clients.<id>.secret`, `clients.<id>.secret_file` | `TOKENBROKER_CLIENTS_<ID>_SECRET`, `TOKENBROKER_CLIENTS_<ID>_SECRET_FILE` |",
		"| `claims.computed.<name>` |  |  | ",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in:\n%s", want, table)
		}
	}
}
