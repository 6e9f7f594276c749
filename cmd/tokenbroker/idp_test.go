package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// startIDP runs `tokenbroker idp` in this process and returns what it prints.
func startIDP(t *testing.T, args ...string) string {
	t.Helper()
	needDev(t)
	ctx, stop := context.WithCancel(context.Background())
	var out, errs syncBuffer
	code := make(chan int, 1)
	go func() { code <- Main(ctx, append([]string{"idp", "--listen", "127.0.0.1:0"}, args...), &out, &errs) }()
	t.Cleanup(func() {
		stop()
		if got := <-code; got != terminal.ExitOK {
			t.Errorf("idp ended with %d: %s", got, errs.String())
		}
	})
	eventually(t, "the emulator is ready", func() bool { return strings.Contains(out.String(), "Stop with Ctrl-C") })
	return out.String()
}

// serve signs users in with the configuration that idp prints, without AWS; serve, config check and doctor
// warn about the emulator.
func TestServeSignsInAtTheEmulatorOfIDP(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("an app client's secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(startIDP(t, "--client-secret-file", secret), "configuration of serve:\n\n")
	block, _, _ = strings.Cut(block, "\n\n")
	if !found {
		t.Fatal("idp prints no configuration")
	}
	s := newServed(t, "http", block).start(t)
	const warning = "whose passwords are published"
	if !strings.Contains(s.logs.String(), warning) {
		t.Errorf("serve does not warn:\n%s", s.logs.String())
	}
	b := newBrowser(t, s.issuer)
	b.hostedUI("ada", "ada")
	csrf, _ := b.get("/auth/session/", http.StatusOK)["CSRF_token"].(string)
	off := b.post("/auth/logoff/", jsonBody("CSRF_token", csrf), http.StatusOK)
	endpoint := regexp.MustCompile(`insecure_dev_endpoint: (\S+)`).FindStringSubmatch(block)
	if url, _ := off["logout_url"].(string); endpoint == nil || !strings.HasPrefix(url, endpoint[1]+"/logout?") {
		t.Errorf("log-out at %s, the emulator at %q", url, endpoint)
	} else if resp, err := b.client.Get(url); err != nil || resp.StatusCode != http.StatusNotFound || resp.Request.URL.String() != s.issuer+"/" { // 404: this browser prefers no HTML
		t.Errorf("the log-out ends at %+v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	if report := s.operate(t, terminal.ExitOK, "config", "check"); !strings.Contains(report, warning) {
		t.Errorf("config check:\n%s", report)
	}
	if report := s.operate(t, terminal.ExitOK, "doctor"); !strings.Contains(report, warning) || !strings.Contains(report, "is not https") {
		t.Errorf("doctor:\n%s", report)
	}
	s.finish(t)
}

// A login without return_to, a visit of the broker's root and a provider's log-out redirect to the configured
// pages.
func TestServeRedirectsToConfiguredPages(t *testing.T) {
	t.Parallel()
	_, block, _ := strings.Cut(startIDP(t), "configuration of serve:\n\n")
	block, _, _ = strings.Cut(block, "\n\n")
	const home, signedOut = "http://127.0.0.1:5173/home", "http://127.0.0.1:5173/bye"
	s := newServed(t, "http", block)
	s.args = append(s.args, "--set", "origins=http://127.0.0.1:5173", "--set", "browser.home_url="+home, "--set", "browser.signed_out_url="+signedOut)
	s.start(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.issuer+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if status, page := do(t, http.DefaultClient, req); status != http.StatusOK || !strings.Contains(page, `href="`+home+`"`) {
		t.Errorf("the root: %d %s", status, page)
	}
	b := newBrowser(t, s.issuer)
	b.hostedUI("ada", "ada")
	csrf, _ := b.get("/auth/session/", http.StatusOK)["CSRF_token"].(string)
	off := b.post("/auth/logoff/", jsonBody("CSRF_token", csrf), http.StatusOK)
	if logout, _ := off["logout_url"].(string); !strings.Contains(logout, url.QueryEscape(signedOut)) {
		t.Errorf("the provider's log-out is %q", logout)
	}
	s.finish(t)
}

func TestIDPAcceptsOnlyConfiguredURIs(t *testing.T) {
	t.Parallel()
	const callback = "http://127.0.0.1:8080/auth/callback/cognito/"
	printed := startIDP(t, "--redirect-uri", callback, "--client-id", "app", "--user-pool", "eu-central-1_Abc")
	if !strings.Contains(printed, "region: eu-central-1\n    user_pool: eu-central-1_Abc\n    client_id: app\n") {
		t.Errorf("it prints %s", printed)
	}
	endpoint := regexp.MustCompile(`insecure_dev_endpoint: (\S+)`).FindStringSubmatch(printed)
	for uri, want := range map[string]int{callback: http.StatusOK, "http://localhost:8080/auth/callback/cognito/": http.StatusBadRequest} {
		resp, err := http.Get(endpoint[1] + "/login?client_id=app&response_type=code&code_challenge_method=S256&code_challenge=c&redirect_uri=" + uri)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", uri, resp.StatusCode, want)
		}
	}
}

func TestIDPRefuses(t *testing.T) {
	needDev(t)
	for name, args := range map[string][]string{
		"another machine's address": {"--listen", "0.0.0.0:9090"}, "a pool's name": {"--user-pool", "users"}, "no client": {"--client-id", ""},
		"a path": {"--redirect-uri", "/callback"}, "a script": {"--logout-uri", "javascript:alert(1)"}, "a word": {"now"},
	} {
		var out, errs bytes.Buffer
		if code := Main(t.Context(), append([]string{"idp"}, args...), &out, &errs); code != terminal.ExitUsage || errs.Len() == 0 {
			t.Errorf("%s: %d %s", name, code, errs.String())
		}
	}
}
