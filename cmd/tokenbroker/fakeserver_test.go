package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
)

const (
	operatorToken    = "the-admin-token-of-the-test"
	operatorPassword = "correct horse battery staple"
)

// answer is what the fake server says to one request line.
type answer struct {
	status int
	body   string
}

// fakeServer answers requests of the admin API from a table and records them.
type fakeServer struct {
	answers map[string]answer
	asked   []string // "METHOD path body"
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.RequestURI()
	s.asked = append(s.asked, strings.TrimSpace(line+" "+string(body)))
	a, ok := s.answers[line]
	media := "application/json"
	switch {
	case r.URL.Path != "/readyz" && r.Header.Get("Authorization") != "Bearer "+operatorToken:
		a = answer{401, `{"code":"unauthorized","detail":"want the admin token as a bearer token"}`}
	case !ok:
		a = answer{404, `{"code":"not_found","detail":"there is nothing at ` + r.URL.Path + `"}`}
	}
	if a.status >= 300 {
		media = "application/problem+json"
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// ran is the result of a command.
type ran struct {
	code           int
	stdout, stderr string
}

// withoutServers clears every variable that names a server on this machine.
func withoutServers(t *testing.T) {
	t.Helper()
	for _, name := range []string{adminclient.EnvAdmin, adminclient.EnvToken, adminclient.EnvTokenFile, adminclient.EnvDataDir, adminclient.EnvConfig} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
}

// serveFake makes the environment name a fake server with those answers.
func serveFake(t *testing.T, answers map[string]answer) *fakeServer {
	t.Helper()
	withoutServers(t)
	fake := &fakeServer{answers: answers}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(operatorToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(adminclient.EnvAdmin, server.URL)
	t.Setenv(adminclient.EnvTokenFile, file)
	return fake
}

// command runs the command line, and checks that no secret comes out.
func command(t *testing.T, stdin io.Reader, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, stdin, &stdout, &stderr)
	got := ran{code, stdout.String(), stderr.String()}
	for _, secret := range []string{operatorPassword, operatorToken} {
		if strings.Contains(got.stdout+got.stderr, secret) {
			t.Errorf("%v shows a secret:\n%s%s", args, got.stdout, got.stderr)
		}
	}
	for _, r := range got.stdout + got.stderr {
		if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			t.Errorf("%v prints the control character %q", args, r)
			break
		}
	}
	return got
}

const (
	adaJSON     = `{"uid":"u1","username":"ada","accounts":[{"issuer":"urn:tokenbroker:local","subject":"ada"}],"has_password":true,"disabled":false,"attributes":{"email":"ada@example.com","seats":12345678901234567890,"quoted":"5"},"roles":["staff","ops"],"created_at":"2026-01-02T03:04:05Z","last_login":"2026-02-03T05:05:06+01:00"}`
	evilJSON    = `{"uid":"u2","username":"ev\u001b[2Jil\u009b","accounts":[],"has_password":false,"disabled":true,"created_at":"2026-01-02T03:04:05Z"}`
	doneJSON    = `{"kind":"sub","value":"u1","epoch":7,"changed":true,"broadcast":true}`
	pendingJSON = `{"kind":"sub","value":"u1","epoch":7,"changed":true,"broadcast":false}`
	againJSON   = `{"kind":"sub","value":"u1","changed":false,"broadcast":true}`
	sessionJSON = `{"sid":"s1","uid":"u1","username":"ada","client_id":"demo-spa","device":"curl/8\u202e","channel":"cookie","created_at":"2026-01-02T03:04:05Z","last_used":"2026-01-02T03:05:05Z","auth_time":"2026-01-02T03:04:05Z","expires_at":"2026-01-16T03:05:05Z","token_expires":"2026-01-02T03:10:05Z","state":"live"}`
)

// document is the one JSON document that text is, with its numbers as written.
func document(t *testing.T, text string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("more than one document: %q", text)
	}
	return v
}
