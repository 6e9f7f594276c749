package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"tokenbroker/config"
	"tokenbroker/internal/setting"
)

const (
	secretText = "4Zq0pVdN0vYw1uLq7tJ8mR3sXc6bKe9f"
	good       = `public_url: http://127.0.0.1:8080
data_dir: /d
tokens: {audience: [my-api]}
browser: {client: my-spa}
clients:
  my-spa: {public: true}
  my-service: {secret: ` + secretText + `}
`
)

// write makes a file in a directory of the test's and returns its path.
func write(t testing.TB, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func mustLoad(t testing.TB, opts config.Options) *config.Loaded {
	t.Helper()
	loaded, err := config.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func problems(t testing.TB, opts config.Options) config.Problems {
	t.Helper()
	loaded, err := config.Load(opts)
	var ps config.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("Load = %v, %v, want Problems", loaded, err)
	}
	return ps
}

// wantProblem wants one with that key, and fragment in its message or hint.
func wantProblem(t testing.TB, ps config.Problems, key, fragment string) {
	t.Helper()
	if !slices.ContainsFunc(ps, func(p config.Problem) bool {
		return p.Key == key && strings.Contains(p.Message+" "+p.Hint, fragment)
	}) {
		t.Errorf("no problem with %q saying %q in:\n%v", key, fragment, ps)
	}
}

func TestDefaultsAreThoseOfTheDesign(t *testing.T) {
	cfg := mustLoad(t, config.Options{File: write(t, "c.yaml", good)}).Config
	day := 24 * time.Hour
	for name, check := range map[string]bool{
		"listen":    cfg.Listen == "127.0.0.1:8080" && cfg.Admin.Listen == "127.0.0.1:8081" && cfg.NATS.Listen == "127.0.0.1:4222",
		"cookie":    cfg.Cookie.Name == "refresh_cookie" && cfg.Cookie.Path == "/auth" && !*cfg.Cookie.Secure,
		"lifetimes": cfg.Lifetimes.AccessToken.Std() == 5*time.Minute && cfg.Lifetimes.SessionIdle.Std() == 14*day && cfg.Lifetimes.SessionAbsolute.Std() == 90*day && cfg.Lifetimes.RefreshGrace.Std() == 10*time.Second && cfg.Lifetimes.JWKSCache.Std() == 5*time.Minute,
		"tokens":    cfg.Tokens.Algorithm == "ES256" && cfg.Claims.Roles && cfg.Claims.Groups,
		"user":      slices.Equal(cfg.UserObject, []string{"id", "username", "roles", "groups"}),
		"admin":     slices.Equal(cfg.Admin.Hosts, []string{"127.0.0.1", "::1", "localhost"}),
		"log":       cfg.Log.Level == "info" && cfg.Log.Format == "text",
		"secret":    cfg.Clients["my-service"].Secret.Reveal() == secretText && cfg.Clients["my-spa"].Public,
	} {
		if !check {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
}

func TestCookiePathFollowsTheScheme(t *testing.T) {
	https := base["https"]
	for _, tt := range []struct {
		base, file    string
		path          string
		source, warns string // of cookie.path; warns "" for no warning
	}{
		{good, "", "/auth", "default", ""},
		{good, "cookie: {path: /auth}\n", "/auth", ":8", ""},
		{good, "cookie: {path: /}\n", "/", ":8", ""},
		{https, "", "/", "default", ""},
		{https, "cookie: {path: /}\n", "/", ":9", ""},
		{https, "cookie: {path: /auth}\n", "/auth", ":9", "__Host-refresh_cookie"},
		{https, "cookie: {path: /auth, name: rc}\n", "/auth", ":9", "__Host-rc"},
	} {
		t.Run(tt.path+" "+tt.file, func(t *testing.T) {
			loaded := mustLoad(t, config.Options{File: write(t, "c.yaml", tt.base+tt.file)})
			if loaded.Config.Cookie.Path != tt.path || !strings.HasSuffix(loaded.Source("cookie.path"), tt.source) {
				t.Errorf("path %q of %s", loaded.Config.Cookie.Path, loaded.Source("cookie.path"))
			}
			if tt.warns == "" {
				if len(loaded.Warnings) > 0 {
					t.Errorf("warnings: %v", loaded.Warnings)
				}
				return
			}
			wantProblem(t, loaded.Warnings, "cookie.path", tt.warns)
			if len(loaded.Warnings) != 1 || !strings.HasSuffix(loaded.Warnings[0].Source, tt.source) {
				t.Errorf("warnings: %+v", loaded.Warnings)
			}
		})
	}
}

func TestPrecedenceOfFlagsEnvironmentFileAndDefaults(t *testing.T) {
	file := write(t, "c.yaml", good+"log:\n  level: warn\n")
	for _, tt := range []struct {
		name         string
		opts         config.Options
		want, source string
	}{
		{"default", config.Options{File: write(t, "c.yaml", good)}, "info", "default"},
		{"file", config.Options{File: file}, "warn", file + ":9"},
		{"environment", config.Options{File: file, Environ: []string{"TOKENBROKER_LOG_LEVEL=error"}}, "error", "environment TOKENBROKER_LOG_LEVEL"},
		{"flag", config.Options{File: file, Environ: []string{"TOKENBROKER_LOG_LEVEL=error"}, Flags: map[string]string{"log.level": "debug"}}, "debug", "flag --log-level"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			loaded := mustLoad(t, tt.opts)
			if got, source := loaded.Config.Log.Level, loaded.Source("log.level"); got != tt.want || source != tt.source {
				t.Errorf("log.level = %q from %q, want %q from %q", got, source, tt.want, tt.source)
			}
		})
	}
}

func TestEverythingFromTheEnvironment(t *testing.T) {
	loaded := mustLoad(t, config.Options{
		File: write(t, "c.yaml", "clients: {my-spa: {public: true}, my.service_2: }\nproviders: {cognito: }\n"),
		Environ: []string{
			"TOKENBROKER_PUBLIC_URL=https://auth.example.com", "TOKENBROKER_TRUSTED_PROXIES=10.0.0.1", "TOKENBROKER_DATA_DIR=/d", "TOKENBROKER_TOKENS_AUDIENCE=a, b", "TOKENBROKER_BROWSER_CLIENT=my-spa",
			"TOKENBROKER_ORIGINS=https://app.example.com,https://www.example.com", "TOKENBROKER_CLIENTS_MY_SERVICE_2_SECRET_FILE=" + write(t, "s", secretText+"\n"),
			"TOKENBROKER_PROVIDERS_COGNITO_KIND=cognito", "TOKENBROKER_PROVIDERS_COGNITO_REGION=eu-central-1", "TOKENBROKER_PROVIDERS_COGNITO_USER_POOL=eu-central-1_abc123DEF",
			"TOKENBROKER_PROVIDERS_COGNITO_CLIENT_ID=x", "TOKENBROKER_PROVIDERS_COGNITO_MAX_TOKEN_AGE=1d", "TOKENBROKER_CLAIMS_ROLES=false", "TOKENBROKER_ADMIN_LISTEN=", "TOKENBROKER_USER_OBJECT=",
			"TOKENBROKER_ADMIN=http://127.0.0.1:8081", "TOKENBROKER_CONFIG=x", "HOME=/root",
			// What Kubernetes sets beside a service named tokenbroker, or tokenbroker-nats.
			"TOKENBROKER_SERVICE_HOST=10.0.0.1", "TOKENBROKER_SERVICE_PORT=8080", "TOKENBROKER_PORT=tcp://10.0.0.1:8080", "TOKENBROKER_NATS_PORT_4222_TCP=tcp://10.0.0.2:4222", "TOKENBROKER_PORT_8080_TCP_ADDR=10.0.0.1",
		},
	})
	cfg := loaded.Config
	p := cfg.Providers["cognito"]
	if cfg.Clients["my.service_2"].Secret.Reveal() != secretText || !slices.Equal(cfg.Tokens.Audience, []string{"a", "b"}) || len(cfg.Origins) != 2 ||
		p.UserPool != "eu-central-1_abc123DEF" || p.MaxTokenAge != setting.Day || cfg.Claims.Roles || cfg.Admin.Listen != "" || len(cfg.UserObject) != 0 || !*cfg.Cookie.Secure {
		t.Errorf("%+v", cfg)
	}
	if got := loaded.Source("clients.my.service_2.secret"); got != "environment TOKENBROKER_CLIENTS_MY_SERVICE_2_SECRET_FILE" {
		t.Errorf("source %q", got)
	}
}

func TestSecretOfHigherPrecedenceReplacesTheFileForm(t *testing.T) {
	token := write(t, "token", strings.Repeat("t", 40)+"\r\n")
	loaded := mustLoad(t, config.Options{
		File:    write(t, "c.yaml", strings.Replace(good, "secret: "+secretText, "secret_file: "+write(t, "s", secretText+"\n"), 1)+"admin: {token_file: "+token+"}\n"),
		Environ: []string{"TOKENBROKER_CLIENTS_MY_SERVICE_SECRET=" + strings.Repeat("f", 40)},
	})
	if got := loaded.Config.Clients["my-service"].Secret.Reveal(); got != strings.Repeat("f", 40) {
		t.Errorf("secret %q", got)
	}
	if got := loaded.Config.Admin.Token.Reveal(); got != strings.Repeat("t", 40) {
		t.Errorf("token %q, want the file's without its line end", got)
	}
}

func TestAllProblemsAtOnceInTheOrderOfKeys(t *testing.T) {
	ps := problems(t, config.Options{
		File:    write(t, "c.yaml", "public_url: 5\ndata_dirr: x\nlifetimes: {access_token: 3600}\norigins: ['*']\norigins: []\n"),
		Environ: []string{"TOKENBROKER_LOG_LEVEL=loud", "TOKENBROKER_LISTN=:1"},
	})
	for _, want := range [][2]string{
		{"public_url", "want text"}, {"data_dirr", "data_dir?"}, {"data_dir", "missing"}, {"lifetimes.access_token", "unit"}, {"origins", "twice"},
		{"log.level", "loud"}, {"TOKENBROKER_LISTN", "TOKENBROKER_LISTEN?"}, {"tokens.audience", "missing"}, {"browser.client", "missing"},
	} {
		wantProblem(t, ps, want[0], want[1])
	}
	if !slices.IsSortedFunc(ps, func(a, b config.Problem) int { return strings.Compare(a.Key, b.Key) }) {
		t.Errorf("not in the order of keys:\n%v", ps)
	}
	if n := len(ps); n != 9 {
		t.Errorf("%d problems, want 9:\n%v", n, ps)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	loaded := mustLoad(t, config.Options{File: write(t, "c.yaml", good), Environ: []string{"TOKENBROKER_ADMIN_TOKEN=" + secretText}})
	cfg := loaded.Config
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	asText, err := cfg.Admin.Token.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("configuration", "config", cfg, "value", *cfg, "token", cfg.Admin.Token)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("configuration", "config", cfg, "value", *cfg, "token", cfg.Admin.Token)
	for _, shown := range []string{
		string(asJSON), string(asYAML), string(asText), log.String(), fmt.Sprintf("%v", cfg), fmt.Sprintf("%+v", *cfg), fmt.Sprintf("%#v", *cfg), fmt.Sprintf("%x", cfg.Admin.Token), fmt.Sprintf("%q %s %d", cfg.Admin.Token, cfg.Admin.Token, cfg.Admin.Token),
		cfg.Admin.Token.LogValue().String(), cfg.Admin.Token.GoString(),
	} {
		if strings.Contains(shown, secretText) || strings.Contains(shown, fmt.Sprintf("%x", secretText)) {
			t.Errorf("shows a secret: %s", shown)
		}
	}
	for _, shown := range []string{string(asJSON), string(asYAML), string(asText), log.String()} {
		if !strings.Contains(shown, "(redacted)") {
			t.Errorf("no redacted secret in %s", shown)
		}
	}
	if !strings.Contains(string(asJSON), `"5m"`) || !strings.Contains(string(asYAML), "session_idle: 14d") {
		t.Errorf("durations without units: %s\n%s", asJSON, asYAML)
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	const s = "sEcReT-tExT"
	for _, content := range []string{
		"admin: {token: " + s + "}", "admin: {token: [" + s + "]}", "admin: {token: *" + s + "}", "admin: {token: {" + s + "}", "nats: {url: 'nats://u:" + s + "@h'}",
		"public_url: https://u:" + s + "@h", "origins: ['https://u:" + s + "@h']", "providers: {x: {issuer: 'https://u:" + s + "@h', kind: oidc, domain: 'https://u:" + s + "@h'}}",
		"keyring: {kek: " + s + "}", "keyring: {kek: !!int " + s + "}", "clients: {x: {secret: " + s + ", secret: 1}}", "clients: {x: {secret_hash: " + s + "}}", "nats: {service_password: " + s + "}",
		"admin: {token: \"" + s + "}", "nats: {password: !" + s + " x}", "nats: {password: &a " + s + ", user: *a}",
	} {
		if ps := problems(t, config.Options{File: write(t, "c.yaml", content)}); strings.Contains(ps.Error(), s) {
			t.Errorf("%s: %v", content, ps)
		}
	}
}

// Other users see command lines: a secret there is refused, by its key alone.
func TestSecretsAreRefusedAsFlags(t *testing.T) {
	const s = "sEcReT-tExT-sEcReT-tExT-sEcReT-tExT"
	for key, want := range map[string]string{
		"admin.token": "admin.token_file", "clients.my-service.secret": "TOKENBROKER_CLIENTS_MY_SERVICE_SECRET", "keyring.kek": "keyring.kek_file",
		"nats.service_password": "command line", "admin.token:" + s: "not a key",
	} {
		ps := problems(t, config.Options{File: write(t, "c.yaml", good), Flags: map[string]string{key: s}})
		shown, _, _ := strings.Cut(key, ":")
		wantProblem(t, ps, shown, want)
		if len(ps) != 1 || strings.Contains(ps.Error(), s) {
			t.Errorf("%s: %v", key, ps)
		}
	}
	mustLoad(t, config.Options{File: write(t, "c.yaml", good), Flags: map[string]string{"admin.token_file": write(t, "token", s)}})
}

func TestProblemsOfLifetimesNameTheValue(t *testing.T) {
	ps := problems(t, config.Options{File: write(t, "t.yaml", good+"lifetimes: {access_token: 10, refresh_grace: 7m}\n")})
	wantProblem(t, ps, "lifetimes.access_token", `"10": want a number with a unit`)
	wantProblem(t, ps, "lifetimes.refresh_grace", "7m is not between 0s and 5m")
}
