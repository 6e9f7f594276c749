package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
)

// inFront are the proxies of docs/operate.md, by name and the changes that make the variant.
var inFront = map[string]struct {
	kind   string
	change *strings.Replacer
}{
	"nginx, HTTP/1.1": {"nginx", strings.NewReplacer()},
	"nginx, HTTP/1.0": {"nginx", strings.NewReplacer("keepalive 32;", "", "proxy_http_version 1.1;", "", `proxy_set_header Connection "";`, "")},
	"haproxy":         {"haproxy", strings.NewReplacer()},
	"caddy":           {"caddyfile", strings.NewReplacer()},
}

// withoutTLS are the lines of the configurations that end TLS.
var withoutTLS = regexp.MustCompile(`(?m)^\s*ssl_certificate.*$|ssl crt .*$`)

// startInFront runs a configuration of docs/operate.md before the broker at URL and returns the proxy's URL.
func startInFront(t *testing.T, name, broker string) string {
	t.Helper()
	p := inFront[name]
	address := "127.0.0.1:" + freeport.Take(t, 1)[0]
	config := strings.NewReplacer("127.0.0.1:8080", strings.TrimPrefix(broker, "http://"),
		"listen 443 ssl", "listen "+address, "bind :443", "bind "+address, "auth.example.com {", "http://"+address+" {").
		Replace(withoutTLS.ReplaceAllString(docsFence(t, "operate.md", p.kind), ""))
	runProxy(t, p.kind, address, p.change.Replace(config))
	return "http://" + address
}

// TestDocsProxies runs a broker behind each proxy of docs/operate.md.
func TestDocsProxies(t *testing.T) {
	longtest.SkipShort(t, "starts reverse proxies")
	log := &syncBuffer{}
	n := startAudited(t, log, filepath.Join(t.TempDir(), "data"))
	for name := range inFront {
		t.Run(name, func(t *testing.T) {
			url := startInFront(t, name, n.Issuer())
			t.Run("a session", func(t *testing.T) { checkProxiedSession(t, url) })
			t.Run("the client's address", func(t *testing.T) { checkProxiedAddress(t, url, log) })
			t.Run("refusals", func(t *testing.T) { checkProxiedRefusals(t, url) })
			t.Run("100 Continue", func(t *testing.T) { checkProxiedContinue(t, url) })
			t.Run("a stream", func(t *testing.T) { checkProxiedStream(t, url) })
		})
	}
}

// proxied is a POST through a proxy.
func proxied(t *testing.T, c *http.Client, url, body string, header ...string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, line := range header {
		k, v, _ := strings.Cut(line, ": ")
		r.Header.Set(k, v)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	_ = json.Unmarshal(text, &answer) // a proxy's own page is not JSON
	return resp.StatusCode, answer
}

func checkProxiedSession(t *testing.T, url string) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	status, answer := proxied(t, c, url+"/auth/sign-in/", `{"username": "ada", "password": "`+auditPassword+`"}`)
	if status != http.StatusOK {
		t.Fatalf("sign-in: %d %v", status, answer)
	}
	csrf, _ := answer["CSRF_token"].(string)
	for range 3 {
		if status, answer := proxied(t, c, url+"/auth/refresh/", jsonBody("CSRF_token", csrf)); status != http.StatusOK {
			t.Fatalf("refresh: %d %v", status, answer)
		}
	}
	if status, answer := proxied(t, c, url+"/auth/logoff/", jsonBody("CSRF_token", csrf)); status != http.StatusOK && status != http.StatusAccepted {
		t.Errorf("log-off: %d %v", status, answer)
	}
}

// checkProxiedAddress checks that the broker ignores the address that the client claims and can read the
// address that the proxy sets.
func checkProxiedAddress(t *testing.T, url string, log *syncBuffer) {
	before := len(log.String())
	status, _ := proxied(t, http.DefaultClient, url+"/auth/sign-in/", `{"username": "nobody", "password": "x"}`, "X-Forwarded-For: 203.0.113.66, unknown")
	if status != http.StatusUnauthorized {
		t.Errorf("status %d", status)
	}
	var line string
	eventually(t, "the audit line", func() bool {
		for l := range strings.Lines(log.String()[before:]) {
			if strings.Contains(l, `"sign_in_failed"`) {
				line = l
			}
		}
		return line != ""
	})
	if !strings.Contains(line, `"addr":"127.0.0.1"`) || strings.Contains(log.String()[before:], "X-Forwarded-For") {
		t.Errorf("the broker takes another address, or cannot read the proxy's: %s", line)
	}
}

func checkProxiedRefusals(t *testing.T, url string) {
	tries := longtest.Pick(20, 200)
	for _, size := range []int{20 << 10, 66 << 10, 600 << 10} {
		body := strings.Repeat("x", size)
		for _, c := range []struct {
			path, kind string
			want       int
		}{
			{"/auth/sign-in/", "application/json", http.StatusRequestEntityTooLarge},
			{"/auth/sign-in/", "text/plain", http.StatusUnsupportedMediaType},
			{"/revocations/receipt", "application/json", http.StatusUnauthorized},
			{"/nowhere", "text/plain", http.StatusNotFound},
			{"/livez", "text/plain", http.StatusMethodNotAllowed},
		} {
			if c.want == http.StatusRequestEntityTooLarge && size < 64<<10 {
				c.want = http.StatusBadRequest
			}
			got := map[int]int{}
			for range tries {
				status, answer := proxied(t, http.DefaultClient, url+c.path, body, "Content-Type: "+c.kind)
				if answer["code"] == nil {
					status = -status // not the broker's
				}
				got[status]++
			}
			if got[c.want] != tries {
				t.Errorf("%d bytes to %s: %v, want %d times %d", size, c.path, got, tries, c.want)
			}
		}
	}
}

// checkProxiedContinue checks that a client that waits for 100 Continue gets an answer.
func checkProxiedContinue(t *testing.T, url string) {
	c := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	defer c.CloseIdleConnections()
	for body, want := range map[string]int{
		`{"username": "ada", "password": "` + auditPassword + `"}`: http.StatusOK,
		strings.Repeat("x", 66<<10):                                http.StatusRequestEntityTooLarge,
	} {
		if status, answer := proxied(t, c, url+"/auth/sign-in/", body, "Expect: 100-continue"); status != want {
			t.Errorf("%d bytes: %d %v, want %d", len(body), status, answer, want)
		}
	}
}

// checkProxiedStream checks that each heartbeat arrives before the next one is sent.
func checkProxiedStream(t *testing.T, url string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/revocations/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("svc", auditClientSecret)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("%s, %s", resp.Status, kind)
	}
	beats := 0
	for lines := bufio.NewScanner(resp.Body); beats < 2; {
		if !lines.Scan() {
			t.Fatalf("the stream ends after %d heartbeats: %v", beats, lines.Err())
		}
		if lines.Text() == "event: heartbeat" {
			beats++
		}
	}
}
