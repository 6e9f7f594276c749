package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/api"
	"tokenbroker/broker"
	op "tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

const (
	auditPassword     = "correct-horse-battery-staple"
	auditWrong        = "wrong-horse-battery-staple"
	auditClientSecret = "a-service-secret-of-the-audit-test"
	auditCSRF         = "a-csrf-token-that-was-never-issued"
)

// TestEachSecurityEventIsOneAuditLine drives a real node whose log is JSON: every request has
// exactly one audit line, by its request id, and no secret is anywhere in the log.
func TestEachSecurityEventIsOneAuditLine(t *testing.T) {
	log, dir := &syncBuffer{}, filepath.Join(t.TempDir(), "data")
	n := startAudited(t, log, dir)
	a := &audited{browser: newBrowser(t, n.Issuer())}

	a.post("sign-in-failed", "/auth/sign-in/", body("username", "ada", "password", auditWrong), http.StatusUnauthorized)
	csrf := a.signIn("sign-in")
	a.post("csrf-refresh", "/auth/refresh/", body("CSRF_token", auditCSRF), http.StatusForbidden)
	a.post("csrf-log-off", "/auth/logoff/", body("CSRF_token", auditCSRF), http.StatusForbidden)
	a.post("refresh", "/auth/refresh/", body("CSRF_token", csrf), http.StatusOK)
	a.post("log-off", "/auth/logoff/", body("CSRF_token", csrf), http.StatusOK)

	// Another session, whose superseded refresh token is used again.
	csrf = a.signIn("sign-in-2")
	old := a.cookie()
	a.post("refresh-2", "/auth/refresh/", body("CSRF_token", csrf), http.StatusOK)
	a.setCookie(old)
	a.post("reuse", "/auth/refresh/", body("CSRF_token", csrf), http.StatusUnauthorized)

	a.catchUp("catch-up", auditClientSecret, http.StatusOK)
	a.catchUp("catch-up-refused", auditWrong, http.StatusUnauthorized)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	audits := auditsByRequest(t, log.String())
	if lines := audits["reuse"]; len(lines) == 1 && lines[0]["refusal"] != "reused" {
		t.Errorf("reuse: %v", lines)
	}
	for id, want := range map[string]string{
		"sign-in-failed": "sign_in_failed", "sign-in": "sign_in", "csrf-refresh": "csrf_mismatch", "csrf-log-off": "csrf_mismatch",
		"catch-up-refused": "client_authentication_refused", "log-off": "log_off", "sign-in-2": "sign_in", "reuse": "refresh_refused",
		"refresh": "refresh", "refresh-2": "refresh", // at level debug
	} {
		lines := audits[id]
		if len(lines) != 1 || lines[0]["event"] != want || lines[0]["addr"] != "127.0.0.1" {
			t.Errorf("request %s: %d audit lines %v, want one of event %s", id, len(lines), lines, want)
		}
		delete(audits, id)
	}
	if len(audits) > 0 {
		t.Errorf("audit lines that belong to no request: %v", audits)
	}

	admin, err := os.ReadFile(filepath.Join(dir, node.AdminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	secrets := append(slices.Clone(a.secrets), auditPassword, auditWrong, auditClientSecret, auditCSRF, strings.TrimSpace(string(admin)))
	for _, secret := range append(secrets, a.cookies...) {
		if len(secret) < 8 {
			t.Fatalf("%q is not a secret to look for", secret)
		}
		if strings.Contains(log.String(), secret) {
			t.Error("a secret of this run is in the log")
		}
	}
}

// startAudited starts a node at debug level with the user ada and without a grace for old refresh tokens.
func startAudited(t *testing.T, log *syncBuffer, dir string) *node.Node {
	t.Helper()
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug)
	public := api.Config{TrustedProxies: []string{"127.0.0.1"}} // whose request ids are taken
	public.Browser.Cookie.Insecure = true
	n, err := node.Start(t.Context(), node.Config{
		DataDir: dir, Listen: "127.0.0.1:0", Admin: node.Admin{Listen: "127.0.0.1:0"}, NATS: node.NATS{Listen: "127.0.0.1:0", InsecureAnonymous: true},
		Audience: []string{"demo-api"}, BrowserClient: "spa",
		Clients: []broker.Client{{ID: "spa"}, {ID: "svc", Secret: auditClientSecret}},
		Policy:  session.Policy{AccessLife: time.Minute, Idle: time.Hour, Absolute: time.Hour},
		Public:  public,
		Logger:  logging.New(log, logging.Config{Level: level, Format: logging.FormatJSON}),
		Fatal:   func(err error) { panic(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	if _, err := n.Operators().AddUser(t.Context(), op.NewUser{Username: "ada", Password: auditPassword}, broker.Request{ID: "seed"}); err != nil {
		t.Fatal(err)
	}
	return n
}

// audited is a browser that sets the ids of its requests and records every secret that it receives.
type audited struct {
	*browser
	secrets []string
}

func (a *audited) post(id, path, body string, want int) map[string]any {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", id)
	answer := a.send(req, want)
	for _, name := range []string{"access_token", "CSRF_token"} {
		if secret, ok := answer[name].(string); ok {
			a.secrets = append(a.secrets, secret)
		}
	}
	return answer
}

// catchUp asks for the revocations as a service does.
func (a *audited) catchUp(id, secret string, want int) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.base+"/revocations", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.SetBasicAuth("svc", secret)
	req.Header.Set("X-Request-ID", id)
	if status, text := do(a.t, http.DefaultClient, req); status != want {
		a.t.Errorf("catch-up: %d, want %d: %s", status, want, text)
	}
}

// signIn returns the CSRF token of the new session.
func (a *audited) signIn(id string) string {
	a.t.Helper()
	csrf, _ := a.post(id, "/auth/sign-in/", body("username", "ada", "password", auditPassword), http.StatusOK)["CSRF_token"].(string)
	return csrf
}

func (a *audited) authURL() *url.URL {
	u, err := url.Parse(a.base + "/auth/")
	if err != nil {
		a.t.Fatal(err)
	}
	return u
}

func (a *audited) cookie() *http.Cookie {
	a.t.Helper()
	cookies := a.client.Jar.Cookies(a.authURL())
	if len(cookies) != 1 {
		a.t.Fatalf("%d cookies", len(cookies))
	}
	return cookies[0]
}

func (a *audited) setCookie(c *http.Cookie) {
	a.client.Jar.SetCookies(a.authURL(), []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/auth"}})
}

// body returns a JSON object of alternating names and values.
func body(pairs ...string) string {
	members := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		members[pair[0]] = pair[1]
	}
	text, _ := json.Marshal(members)
	return string(text)
}

// auditsByRequest reads the log. Every line must be a JSON object.
func auditsByRequest(t *testing.T, log string) map[string][]map[string]any {
	t.Helper()
	audits, requests := map[string][]map[string]any{}, 0
	for text := range strings.Lines(log) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("a log line is not a JSON object: %v: %s", err, text)
		}
		switch line["msg"] {
		case "audit":
			id, _ := line["request_id"].(string)
			if id != "seed" {
				audits[id] = append(audits[id], line)
			}
		case "request":
			requests++
		}
	}
	if requests < 11 {
		t.Errorf("%d request lines in the log, which are too few for this test", requests)
	}
	return audits
}
