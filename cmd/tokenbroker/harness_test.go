package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

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

// send repeats what is answered 503, as one of several brokers may do for a moment. It takes 202 for 200: a log-off is answered
// so if a busy machine has not sent its message within 250 ms.
func (b *browser) send(req *http.Request, want int) map[string]any {
	b.t.Helper()
	var status int
	var body string
	eventually(b.t, req.URL.Path+" is answered", func() bool {
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			again.Body, _ = req.GetBody()
		}
		status, body = do(b.t, b.client, again)
		return status != http.StatusServiceUnavailable
	})
	if status != want && (status != http.StatusAccepted || want != http.StatusOK) {
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

// patience bounds each wait. It is long enough for a busy machine.
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
