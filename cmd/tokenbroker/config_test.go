package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func TestServeReportsAllConfigurationErrorsAtOnce(t *testing.T) {
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
		{[]string{"--set", "admin.token:" + secret + "=x"}, terminal.ExitFailed, "admin.token: is not a key"},
		{[]string{"--set", "admin.token=" + secret}, terminal.ExitFailed, "admin.token_file"},
	} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), append([]string{"config", "check", "--config", s.config}, tt.args...), &out, &errs)
		if code != tt.code || !strings.Contains(errs.String(), tt.want) || strings.Contains(errs.String(), secret) {
			t.Errorf("%q: exit code %d: %s", tt.args, code, errs.String())
		}
	}
}
