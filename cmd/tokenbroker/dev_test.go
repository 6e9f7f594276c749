package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Signs in over HTTP, uses the token and logs off. The service then refuses the token although it has not
// expired.
func TestDevFromSignInToRefusal(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	checkResource(t, dev.sample, dev.issuer)
	b := newBrowser(t, dev.issuer)
	answer := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)
	for _, member := range []string{"access_token", "token_type", "expires", "expires_in", "CSRF_token"} {
		if answer[member] == nil {
			t.Errorf("the answer has no %s", member)
		}
	}
	access, csrf := answer["access_token"].(string), answer["CSRF_token"].(string)
	if status, body := callHello(t, dev.sample, access); status != http.StatusOK {
		t.Fatalf("hello with a good token: %d %s", status, body)
	}
	b.post("/auth/verify/", jsonBody("token", access), http.StatusOK)
	refreshed := b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusOK)
	first := b.get("/auth/session/", http.StatusOK)
	if first["CSRF_token"] != csrf {
		t.Errorf("the CSRF token of the session is not stable")
	}

	began := time.Now()
	b.post("/auth/logoff/", jsonBody("CSRF_token", csrf), http.StatusOK)
	answered := time.Since(began)
	eventually(t, "the service refuses the token", func() bool {
		status, body := callHello(t, dev.sample, access)
		return status == http.StatusUnauthorized && strings.Contains(body, "token_revoked")
	})
	t.Logf("log-off was answered after %s; the service refused the token %s after the request", answered.Round(time.Microsecond*100), time.Since(began).Round(time.Microsecond*100))
	if status, body := callHello(t, dev.sample, refreshed["access_token"].(string)); status != http.StatusUnauthorized {
		t.Errorf("the session's other token: %d %s", status, body)
	}
	if body := b.post("/auth/verify/", jsonBody("token", access), http.StatusUnauthorized); body["code"] != "token_revoked" {
		t.Errorf("verify after log-off: %v", body)
	}
	b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusUnauthorized)
	b.get("/auth/session/", http.StatusUnauthorized)
	b.post("/auth/logoff/", jsonBody("CSRF_token", csrf), http.StatusOK)

	dir := dev.dataDir
	adminToken, err := os.ReadFile(dir + "/admin-token")
	if err != nil {
		t.Fatal(err)
	}
	checkMetrics(t, dev.admin, strings.TrimSpace(string(adminToken)))
	dev.finish(t)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the temporary data directory is still there: %v", err)
	}
	secrets := []string{access, csrf, refreshed["access_token"].(string), strings.TrimSpace(string(adminToken)), devserver.ServiceSecret}
	secrets = append(secrets, b.cookies...)
	for _, secret := range secrets {
		if strings.Contains(dev.logs.String(), secret) {
			t.Errorf("the logs contain a secret of this run")
		}
	}
	if !strings.Contains(dev.logs.String(), "event=log_off") {
		t.Error("the log-off left no audit line")
	}
}

// checkResource: a client that knows only the URL of the service finds the issuer (RFC 9728 §5).
func checkResource(t *testing.T, service, issuer string) {
	t.Helper()
	refused, err := http.Get(service + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	at := service + "/.well-known/oauth-protected-resource"
	if got, want := refused.Header.Get("WWW-Authenticate"), `resource_metadata="`+at+`", scope="hello:read"`; !strings.Contains(got, want) {
		t.Errorf("WWW-Authenticate: %s, want %s", got, want)
	}
	answer, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var document struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&document); err != nil {
		t.Fatal(err)
	}
	if document.Resource != service+"/" || !slices.Equal(document.Servers, []string{issuer}) || !slices.Equal(document.Scopes, []string{"hello:read"}) {
		t.Errorf("the metadata is %+v", document)
	}
}

func TestDevKeepsItsDataAcrossRuns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	dev := startDev(t, "--data-dir", dir)
	port := dev.issuer[strings.LastIndex(dev.issuer, ":")+1:]
	b := newBrowser(t, dev.issuer)
	csrf := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)["CSRF_token"].(string)

	// A second process (here a second run) on the same directory is refused with the pid of the first.
	var out, errs syncBuffer
	code := Main(t.Context(), []string{"dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}, &out, &errs)
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); code != terminal.ExitFailed || !strings.Contains(errs.String(), want) {
		t.Errorf("second run: code %d, %q, want %q", code, errs.String(), want)
	}
	// A busy port is refused with its number and its flag.
	errs.Reset()
	code = Main(t.Context(), []string{"dev", "--listen", "127.0.0.1:" + port, "--admin-listen", "127.0.0.1:0",
		"--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}, &out, &errs)
	if code != terminal.ExitFailed || !strings.Contains(errs.String(), ":"+port) || !strings.Contains(errs.String(), "--listen") {
		t.Errorf("busy port: code %d, %q", code, errs.String())
	}
	dev.finish(t)

	again := startDev(t, "--data-dir", dir, "--listen", "127.0.0.1:"+port)
	b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusOK)
	again.finish(t)
}

func TestDevNamesTheVariablesThatItIgnores(t *testing.T) {
	needDev(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0") // so that dev ends at once
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	t.Setenv("TOKENBROKER_ORIGINS", "http://localhost:5173")
	t.Setenv("TOKENBROKER_KEYRING_KEK", "a secret")
	t.Setenv("TOKENBROKER_ADMIN", "http://127.0.0.1:1")
	t.Setenv(configEnv, "tokenbroker.yaml")
	var out, errs syncBuffer
	if code := Main(t.Context(), []string{"dev", "--sample-listen", busy.Addr().String()}, &out, &errs); code != terminal.ExitFailed {
		t.Errorf("code %d", code)
	}
	if want := `variables="TOKENBROKER_KEYRING_KEK TOKENBROKER_ORIGINS TOKENBROKER_CONFIG"`; !strings.Contains(errs.String(), want) || strings.Contains(errs.String(), "a secret") {
		t.Errorf("the log has no %s, or a value:\n%s", want, errs.String())
	}
}

// The browser signs in through the Cognito emulator and never holds an upstream token. Log-off returns the
// URL of the provider's log-out page.
func TestDevSignInThroughTheHostedUI(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	b := newBrowser(t, dev.issuer)
	b.hostedUI("ada", "ada")
	session := b.get("/auth/session/", http.StatusOK)
	user, _ := session["user"].(map[string]any)
	if user["username"] != "ada" || fmt.Sprint(user["groups"]) != "[staff]" {
		t.Errorf("user %v", user)
	}
	csrf, _ := session["CSRF_token"].(string)
	token, _ := b.post("/auth/refresh/", jsonBody("CSRF_token", csrf), http.StatusOK)["access_token"].(string)
	if status, body := callHello(t, dev.sample, token); status != http.StatusOK {
		t.Errorf("hello: %d %s", status, body)
	}
	off := b.post("/auth/logoff/", jsonBody("CSRF_token", csrf), http.StatusOK)
	if url, _ := off["logout_url"].(string); !strings.Contains(url, "/logout?client_id=dev-client") {
		t.Errorf("logout_url %q", url)
	}
	checkBody(t, dev.issuer+"/readyz?verbose", `"status":"ready"`)
	dev.finish(t)
}

// A log-off redirects through the emulator's log-out page back to the page that called it.
func TestDevLogOffReturnsToTheCallingPage(t *testing.T) {
	t.Parallel()
	dev := startDev(t, "--origin", "http://app.test:5173")
	for _, page := range []string{"http://localhost:5173", "http://app.test:5173"} {
		b := newBrowser(t, dev.issuer)
		b.hostedUI("ada", "ada")
		csrf, _ := b.get("/auth/session/", http.StatusOK)["CSRF_token"].(string)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dev.issuer+"/auth/logoff/", strings.NewReader(jsonBody("CSRF_token", csrf)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", page)
		logout, _ := b.send(req, http.StatusOK)["logout_url"].(string)
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		if req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, logout, nil); err != nil {
			t.Fatal(err)
		}
		resp, err := b.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if to := resp.Header.Get("Location"); to != page+"/" {
			t.Errorf("%s: the log-out at %s leads to %q (%d)", page, logout, to, resp.StatusCode)
		}
	}
	dev.finish(t)
}

func TestDevAllowsTheOriginsOfItsFlag(t *testing.T) {
	t.Parallel()
	dev := startDev(t, "--origin", "http://App.Test:80/", "--origin", "https://spa.test")
	for origin, allowed := range map[string]bool{
		"http://app.test": true, "https://spa.test": true, "http://localhost:5173": true, "http://[::1]:5173": true, dev.issuer: true,
		"http://spa.test": false, "http://app.test:81": false, "https://localhost:5173": false, "null": false,
	} {
		want := map[bool]string{true: origin}[allowed]
		for _, target := range []string{dev.issuer + "/auth/session/", dev.sample + "/hello"} {
			if got := allowedOrigin(t, target, origin); got != want {
				t.Errorf("%s, %s: allowed %q, want %q", target, origin, got, want)
			}
		}
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, dev.issuer+"/auth/login/?return_to=https://spa.test/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "spa.test" // as its proxy passes it on
	page, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = page.Body.Close()
	if got := page.Request.URL.Query().Get("redirect_uri"); page.StatusCode != http.StatusOK || got != "https://spa.test/auth/callback/cognito/" {
		t.Errorf("the hosted page: %d, redirect_uri %s", page.StatusCode, got)
	}
	dev.finish(t)
}

// Operators' commands find a running dev without a flag: over its socket, or, where the
// data directory's path is too long for one, over TCP with the token.
func TestCommandsFindARunningDev(t *testing.T) {
	for name, dir := range map[string]string{"short": "", "long": strings.Repeat("long", 30)} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			dataDir := filepath.Join(t.TempDir(), "d", dir)
			dev := startDev(t, "--data-dir", dataDir)
			if said := strings.Contains(dev.logs.String(), "only over TCP"); said != (dir != "") {
				t.Errorf("only over TCP: %v", said)
			}
			var out, errs bytes.Buffer
			if code := Main(t.Context(), []string{"status"}, &out, &errs); code != terminal.ExitOK || !strings.Contains(out.String(), dev.issuer) {
				t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
			}
			dev.finish(t)
			if code := Main(t.Context(), []string{"status"}, &out, &errs); code != terminal.ExitFailed || !strings.Contains(errs.String(), "start one") {
				t.Errorf("after the end: exit code %d: %s", code, errs.String())
			}
		})
	}
}
