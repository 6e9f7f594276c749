package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// running is `tokenbroker dev` in this process, on free ports.
type running struct {
	issuer, sample, admin, dataDir string
	samples                        []string // all of them, sample first
	output                         *syncBuffer
	logs                           *syncBuffer
	stop                           context.CancelFunc
	code                           chan int
}

// needDev skips a test that runs dev or idp if this build has neither.
func needDev(t *testing.T) {
	t.Helper()
	if !developmentServer {
		t.Skip("built with -tags nodev")
	}
}

// startDev returns when the banner says that everything answers.
func startDev(t *testing.T, args ...string) *running {
	t.Helper()
	needDev(t)
	ctx, stop := context.WithCancel(context.Background())
	r := &running{output: &syncBuffer{}, logs: &syncBuffer{}, stop: stop, code: make(chan int, 1)}
	args = append([]string{"dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}, args...)
	go func() { r.code <- Main(ctx, args, r.output, r.logs) }()
	t.Cleanup(func() { r.stop() })
	eventually(t, "the banner", func() bool {
		select {
		case code := <-r.code:
			t.Fatalf("dev ended with %d before it was ready:\n%s", code, r.logs.String())
		default:
		}
		return strings.Contains(r.output.String(), "Stop with Ctrl-C")
	})
	field := func(name string) string {
		m := regexp.MustCompile(`(?m)^  ` + name + `\s+(\S+)`).FindStringSubmatch(r.output.String())
		if m == nil {
			t.Fatalf("no %s in the banner:\n%s", name, r.output.String())
		}
		return m[1]
	}
	r.issuer, r.dataDir = field("broker"), field("data")
	r.sample = strings.TrimSuffix(field("sample service"), "/hello")
	r.samples = append([]string{r.sample}, regexp.MustCompile(`also at (\S+) and (\S+)\)`).FindStringSubmatch(r.output.String())[1:]...)
	r.admin = field("admin")
	return r
}

// finish stops dev and checks that it drained in time.
func (r *running) finish(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case code := <-r.code:
		if code != terminal.ExitOK {
			t.Errorf("exit code %d:\n%s", code, r.logs.String())
		}
	case <-time.After(patience):
		t.Fatal("dev did not stop")
	}
}

// TestDevFromSignInToRefusal is what the product is for, done over the wire: sign in, use
// the token, log off, and the service says no to the token that has not expired.
func TestDevFromSignInToRefusal(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
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
			t.Errorf("the logs hold a secret of this run")
		}
	}
	if !strings.Contains(dev.logs.String(), "event=log_off") {
		t.Error("the log-off left no audit line")
	}
}

func TestDevKeepsItsDataAcrossRuns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	dev := startDev(t, "--data-dir", dir)
	port := dev.issuer[strings.LastIndex(dev.issuer, ":")+1:]
	b := newBrowser(t, dev.issuer)
	csrf := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)["CSRF_token"].(string)

	// A second process (here: a second run) on the same directory is refused by pid.
	var out, errs syncBuffer
	code := Main(t.Context(), []string{"dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}, &out, &errs)
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); code != terminal.ExitFailed || !strings.Contains(errs.String(), want) {
		t.Errorf("second run: code %d, %q, want %q", code, errs.String(), want)
	}
	// And a busy port by its number and flag.
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

func TestUsageErrorsExitWith2(t *testing.T) {
	needDev(t)
	for _, args := range [][]string{{"dev", "--no-such-flag"}, {"nonsense"}, {"dev", "extra"}, {"dev", "--log-level", "loud"}, {"dev", "--listen", "0.0.0.0:0"}, {"dev", "--nats-listen", ":4222"}, {"dev", "--origin", "localhost:5173"}, {"dev", "--origin", "*"}} {
		var out, errs syncBuffer
		if code := Main(t.Context(), args, &out, &errs); code != terminal.ExitUsage || errs.String() == "" {
			t.Errorf("%v: code %d, %q", args, code, errs.String())
		}
	}
}

func checkMetrics(t *testing.T, url, token string) {
	t.Helper()
	for _, tc := range []struct {
		bearer string
		want   int
	}{{"", http.StatusUnauthorized}, {"wrong", http.StatusUnauthorized}, {token, http.StatusOK}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.bearer != "" {
			req.Header.Set("Authorization", "Bearer "+tc.bearer)
		}
		status, body := do(t, http.DefaultClient, req)
		if status != tc.want {
			t.Errorf("metrics: %d, want %d", status, tc.want)
		}
		if status == http.StatusOK && !strings.Contains(body, "tokenbroker_") {
			t.Errorf("no metrics of ours:\n%s", body)
		}
	}
}

// browser keeps cookies, as curl's jar does, and notes their values.
type browser struct {
	t       *testing.T
	base    string
	client  *http.Client
	cookies []string
}

func newBrowser(t *testing.T, base string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, base: base, client: &http.Client{Jar: jar}}
}

func (b *browser) post(path, body string, want int) map[string]any {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return b.send(req, want)
}

func (b *browser) get(path string, want int) map[string]any {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.send(req, want)
}

func (b *browser) send(req *http.Request, want int) map[string]any {
	b.t.Helper()
	status, body := do(b.t, b.client, req)
	if status != want {
		b.t.Fatalf("%s %s: %d, want %d: %s", req.Method, req.URL.Path, status, want, body)
	}
	for _, c := range b.client.Jar.Cookies(req.URL) {
		b.cookies = append(b.cookies, c.Value)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		b.t.Fatalf("%s: %v: %s", req.URL.Path, err, body)
	}
	return answer
}

func callHello(t *testing.T, base, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, base+"/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return do(t, http.DefaultClient, req)
}

func do(t *testing.T, client *http.Client, req *http.Request) (int, string) {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func jsonBody(name, value string) string {
	body, _ := json.Marshal(map[string]string{name: value})
	return string(body)
}

// patience ends a wait for what should have come by then on the busiest machine.
const patience = 2 * time.Minute

// eventually polls until ok, and fails the test when patience is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Reset()
}

// TestDevSignInThroughTheHostedUI: the browser goes to the Cognito emulator and comes back
// signed in; no upstream token was ever in it. Log-off names the provider's log-out page.
// hostedUI signs in at the emulator's page, with the only provider, and comes back to /livez.
func (b *browser) hostedUI(user, password string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+"/auth/login/?return_to=/livez", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	page, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = page.Body.Close()
	form, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, page.Request.URL.String(), strings.NewReader("username="+user+"&password="+password))
	if err != nil {
		b.t.Fatal(err)
	}
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	back, err := b.client.Do(form)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = back.Body.Close()
	if back.StatusCode != http.StatusOK || back.Request.URL.String() != b.base+"/livez" {
		b.t.Fatalf("came back to %s with %d", back.Request.URL, back.StatusCode)
	}
}

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

// The log-off of a page leads through the emulator's log-out page back to that page.
func TestDevLogsOffToThePageThatAsked(t *testing.T) {
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

func checkBody(t *testing.T, url, want string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := do(t, http.DefaultClient, req); status != http.StatusOK || !strings.Contains(body, want) {
		t.Errorf("%s: %d %s", url, status, body)
	}
}

// allowedOrigin returns the Access-Control-Allow-Origin of the answer to a page's pre-flight.
func allowedOrigin(t *testing.T, target, page string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", page)
	req.Header.Set("Access-Control-Request-Method", http.MethodPost)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Access-Control-Allow-Origin")
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
