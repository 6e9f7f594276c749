package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"tokenbroker/revocation/httpfeed"
	"tokenbroker/validator"
)

// A log-off at a broker in a process of its own ends the user's open MCP sessions. The revocation comes over HTTP.
func TestALogOffAtTheBrokerEndsAnOpenSession(t *testing.T) {
	issuer := startBroker(t)
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, Transport: &http.Transport{}}
	t.Cleanup(browser.CloseIdleConnections)
	signedIn := ask(t, browser, issuer+"/auth/sign-in/", `{"username": "admin", "password": "admin"}`)

	credentials := validator.Client{ID: "demo-service", Secret: "demo-service-secret"}
	toBroker := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(toBroker.CloseIdleConnections)
	v, err := validator.New(t.Context(), validator.Config{
		Issuer: issuer, Audience: "demo-api", Client: credentials, HTTPClient: toBroker,
		Feed: httpfeed.Feed{URL: issuer, Client: credentials, HTTPClient: toBroker},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	s.serve(t, v, newServer(v), issuer)
	for name, version := range versions {
		session, streamEnded, over := s.connect(t, version, signedIn.AccessToken)
		if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"}); err != nil {
			t.Fatal(err)
		}
		loggedOff := time.Now()
		ask(t, browser, issuer+"/auth/logoff/", `{"CSRF_token": "`+signedIn.CSRF+`"}`)
		answered := time.Now()
		t.Logf("%s: the broker answered the log-off after %s, and the client saw the end of the open stream %s after the request", name,
			answered.Sub(loggedOff).Round(10*time.Microsecond), receive(t, streamEnded).Sub(loggedOff).Round(10*time.Microsecond))
		if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"}); err == nil {
			t.Error("a call after the log-off had a result")
		}
		if err := receive(t, over); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("the session ended by %v", err)
		}
		signedIn = ask(t, browser, issuer+"/auth/sign-in/", `{"username": "admin", "password": "admin"}`)
	}
}

type answer struct {
	AccessToken string `json:"access_token"`
	CSRF        string `json:"CSRF_token"`
}

func ask(t *testing.T, client *http.Client, url, body string) (a answer) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode/100 != 2 {
		t.Fatalf("%s: %d %s %v", url, got.StatusCode, text, err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return a
}

// startBroker runs `tokenbroker dev` until the test ends. It returns the issuer when everything answers.
func startBroker(t *testing.T) (issuer string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "tokenbroker")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "./cmd/tokenbroker")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the broker: %v\n%s", err, out)
	}
	free := freeAddress(t)
	const some = "127.0.0.1:0"
	cmd := exec.Command(program, "dev", "--data-dir", filepath.Join(dir, "data"), "--listen", free, "--admin-listen", some, "--nats-listen", some,
		"--idp-listen", some, "--sample-listen", some)
	cmd.Env = append(cmd.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+dir) // where it notes for operators that it runs
	out := &output{ready: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the broker printed:\n%s", out)
		}
	})
	select {
	case <-out.ready:
	case err := <-ended:
		t.Fatalf("the broker ended: %v", err)
	case <-time.After(2 * time.Minute):
		t.Fatal("the broker is not ready after two minutes")
	}
	return "http://" + free
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// output collects what the broker prints, and closes ready when it says that it is.
type output struct {
	ready chan struct{}

	mu   sync.Mutex // guards what follows
	text bytes.Buffer
	said bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.text.Write(p)
	if !o.said && bytes.Contains(o.text.Bytes(), []byte("tokenbroker is ready")) {
		o.said = true
		close(o.ready)
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
