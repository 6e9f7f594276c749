package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/freeport"
)

// sharedBrokers are three brokers, each a process of its own, on an engine that they share, behind a round-robin proxy at the
// issuer's address.
type sharedBrokers struct {
	dir, config, issuer string
	nats                string   // its URL
	urls                []string // of the brokers
	processes           []*process
}

// newSharedBrokers returns brokers whose configuration has that section "store". They do not run yet.
func newSharedBrokers(t *testing.T, dir, store string) *sharedBrokers {
	t.Helper()
	b := &sharedBrokers{dir: dir, processes: make([]*process, 3)}
	for _, port := range freeport.Take(t, len(b.processes)) {
		b.urls = append(b.urls, "http://127.0.0.1:"+port)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme = "http"; r.Out.URL.Host = "in.turn" }, Transport: &roundRobin{brokers: b.urls},
		ErrorLog: log.New(io.Discard, "", 0),
	})
	t.Cleanup(proxy.Close)
	b.issuer, b.config, b.nats = proxy.URL, filepath.Join(b.dir, "tokenbroker.yaml"), startNATS(t)
	text := fmt.Sprintf(`public_url: %s
data_dir: %s
admin: {listen: ""}
tokens: {audience: [api]}
browser: {client: spa}
clients: {spa: {public: true}, service: {secret: 0123456789abcdef0123456789abcdef}}
lifetimes: {refresh_grace: 2m} # longer than any pause of a busy machine
keyring: {kek: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
nats: {url: %q}
store: %s
`, b.issuer, b.data(0), b.nats, store)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func startNATS(t *testing.T) (url string) {
	t.Helper()
	ns, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(patience) {
		t.Fatal("NATS is not ready")
	}
	return ns.ClientURL()
}

func (b *sharedBrokers) data(i int) string { return filepath.Join(b.dir, fmt.Sprint("data", i)) }

// flags are those by which broker i differs from the configuration.
func (b *sharedBrokers) flags(i int) []string {
	return []string{
		"--config", b.config, "--listen", strings.TrimPrefix(b.urls[i], "http://"), "--data-dir", b.data(i), "--set", fmt.Sprint("store.broker_name=b", i),
	}
}

// start starts broker i, with more flags if there are some, and waits until it is ready.
func (b *sharedBrokers) start(t *testing.T, i int, flags ...string) {
	t.Helper()
	b.processes[i] = startBroker(t, "tokenbroker is ready", append(append([]string{"serve"}, b.flags(i)...), flags...)...)
	b.ready(t, i)
}

func (b *sharedBrokers) ready(t *testing.T, i int) {
	t.Helper()
	eventually(t, "the broker is ready", func() bool {
		return command(t, nil, "healthcheck", "--data-dir", b.data(i)).code == terminal.ExitOK
	})
}

// operate runs an operator's command at broker i and returns what it prints.
func (b *sharedBrokers) operate(t *testing.T, i, want int, stdin string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), append(args, "--data-dir", b.data(i)), strings.NewReader(stdin), &out, &errs)
	if code != want {
		t.Fatalf("%v at broker %d: exit code %d: %s", args, i, code, errs.String())
	}
	return out.String() + errs.String()
}

// roundRobin sends each request to the next broker. It chooses another one only if connecting fails.
type roundRobin struct {
	brokers []string
	next    atomic.Uint64
}

// RoundTrip implements [http.RoundTripper].
func (r *roundRobin) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	var err error
	if req.Body != nil {
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	turn := r.next.Add(1)
	for i := range uint64(len(r.brokers)) {
		broker := r.brokers[(turn+i)%uint64(len(r.brokers))]
		again := req.Clone(req.Context())
		again.URL.Host, again.Body = strings.TrimPrefix(broker, "http://"), io.NopCloser(bytes.NewReader(body))
		var resp *http.Response
		var failed *net.OpError
		if resp, err = http.DefaultTransport.RoundTrip(again); !errors.As(err, &failed) || failed.Op != "dial" {
			return resp, err
		}
	}
	return nil, err
}

// ask sends a request to url until the answer is neither 502 nor 503, by which brokers that cannot answer for now, such as
// right after a start, ask for a repetition. Repeating is safe: a refresh within the grace has the same result.
func ask(url, body, cookie string) (int, []byte, []*http.Cookie) {
	for tries := 0; ; tries++ {
		status, answer, cookies := request(url, body, cookie)
		if status != 0 && status != http.StatusBadGateway && status != http.StatusServiceUnavailable || tries == 1000 {
			return status, answer, cookies
		}
		time.Sleep(50 * time.Millisecond) // a client's pause
	}
}

// refresh refreshes at a broker, or at the issuer, and returns the session with its new tokens.
func refresh(base string, v visit) (int, visit) {
	status, body, cookies := ask(base+"/auth/refresh/", jsonBody("CSRF_token", v.csrf), v.cookie)
	if status == http.StatusOK && len(cookies) == 1 {
		v.cookie, v.access = cookies[0].Name+"="+cookies[0].Value, textMember(body, "access_token")
	}
	return status, v
}

func logOff(base string, v visit) int {
	status, _, _ := ask(base+"/auth/logoff/", jsonBody("CSRF_token", v.csrf), v.cookie)
	return status
}

// textMember returns a member of a JSON object that is a text, or "".
func textMember(body []byte, name string) string {
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil {
		return ""
	}
	text, _ := object[name].(string)
	return text
}
