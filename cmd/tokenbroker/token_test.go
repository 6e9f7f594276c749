package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/validator/validatortest"
)

func TestTokenExplain(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // no running dev is found
	issuer := validatortest.New(t)
	good := issuer.Mint(validatortest.Claims{"aud": "orders", "scope": "orders:read"})
	base := []string{"token", "explain", "--issuer", issuer.URL()}
	for name, row := range map[string]struct {
		args  []string
		stdin string
		code  int
		out   string
		err   string
	}{
		"revocation unknown": {[]string{"--audience", "orders"}, good, 1, "not checked  revocation", "not every rule could be checked: revocation: no broker was asked"},
		"with a scheme":      {[]string{"--audience", "orders", "-"}, "bearer  " + good + "\n", 1, "ok           signature", "revocation"},
		"audience":           {[]string{"--audience", "my-api"}, good, 1, "refused      audience", "audience: token has orders, this service expects my-api"},
		"scope":              {[]string{"--audience", "orders", "--scope", "orders:write"}, good, 1, "refused      scope", "scope: token has orders:read, this service expects orders:write"},
		"as an argument":     {[]string{"--audience", "my-api", good}, "", 1, "refused      audience", "audience:"},
		"hostile":            {[]string{"--audience", "orders"}, issuer.Mint(validatortest.Claims{"aud": "\x1b[2Jevil"}), 1, `\x1b[2Jevil`, "audience"},
		"nothing":            {nil, "", 2, "", "the token is empty"},
		"empty":              {nil, "\n", 2, "", "the token is empty"},
		"two tokens":         {[]string{good, good}, "", 2, "", "want one token"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(append([]string{}, base...), row.args...), strings.NewReader(row.stdin), &stdout, &stderr)
			if code != row.code || !strings.Contains(stdout.String(), row.out) || !strings.Contains(stderr.String(), row.err) {
				t.Errorf("exit %d\n%s\n%s", code, &stdout, &stderr)
			}
			if text := stdout.String() + stderr.String(); strings.Contains(text, good[len(good)-40:]) || strings.Contains(text, "\x1b") {
				t.Errorf("the output has the token, or obeys it:\n%s", text)
			}
		})
	}
}

// fetch reads a small document.
func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A key set in a file explains without a network, and a configuration names issuer and audience.
func TestTokenExplainByAConfiguration(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	file := filepath.Join(dir, "tokenbroker.yaml")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"config", "init", file, "--public-url", "http://127.0.0.1:18080", "--data-dir", filepath.Join(dir, "data")}, nil, &stdout, &stderr); code != 0 {
		t.Fatal(stderr.String())
	}
	issuer := validatortest.New(t)
	keys := filepath.Join(dir, "keys.json")
	if err := os.WriteFile(keys, fetch(t, issuer.URL()+"/.well-known/jwks.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	token := issuer.Mint(validatortest.Claims{"iss": "http://127.0.0.1:18080", "aud": "my-api"})
	stdout.Reset()
	code := run(t.Context(), []string{"token", "explain", "--config", file, "--jwks", keys, "--output", "json"}, strings.NewReader(token), &stdout, &stderr)
	var got struct {
		Verdict, Issuer string
		Audience        []string
		Checks          []struct{ Rule, Verdict string }
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || code != 1 {
		t.Fatalf("exit %d, %v: %s %s", code, err, &stdout, &stderr)
	}
	if got.Verdict != "not_checked" || got.Issuer != "http://127.0.0.1:18080" || len(got.Audience) != 1 {
		t.Errorf("%+v", got)
	}
	for _, c := range got.Checks { // the flags set no lifetime, and no server is asked for revocations
		if want := c.Rule == "lifetime" || c.Rule == "revocation"; want != (c.Verdict == "not_checked") {
			t.Errorf("%+v", c)
		}
	}
}
