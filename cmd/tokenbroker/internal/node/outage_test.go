package node_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tokenbroker/api"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/password"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
)

const (
	service = "svc"
	secret  = "a-service-secret-of-the-test"
)

// cheapPasswords makes the check of a password cheap, for tests that are not about passwords.
var cheapPasswords = password.Params{Memory: 64, Time: 1, Threads: 1}

// lab has one broker and a NATS server, which the test starts and stops. Both keep their ports.
type lab struct {
	t        *testing.T
	dir      string
	listen   string
	natsPort int
	// issuer and feedURL are the addresses that services use. If empty, they are the broker's and
	// the NATS server's own addresses.
	issuer, feedURL string
	// brokerNATS is the URL at which the broker reaches NATS. If empty, it is the server's address.
	brokerNATS string
	nats       *server.Server
	node       *node.Node
	warnings   logBuffer // what the broker logs at level WARN and above
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, dir: filepath.Join(t.TempDir(), "data"), listen: loopback(freePort(t)), natsPort: freePort(t)}
	t.Cleanup(l.stopNATS)
	return l
}

func (l *lab) natsURL() string { return "nats://" + loopback(l.natsPort) }

func (l *lab) startNATS() {
	l.t.Helper()
	l.serveNATS(&server.Options{})
}

// serveNATS starts a server with additional options.
func (l *lab) serveNATS(opts *server.Options) {
	l.t.Helper()
	opts.Host, opts.Port, opts.NoSigs, opts.NoLog = "127.0.0.1", l.natsPort, true, true
	ns, err := server.NewServer(opts)
	if err != nil {
		l.t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(patience) {
		l.t.Fatal("the NATS server did not start")
	}
	l.nats = ns
}

func (l *lab) stopNATS() {
	if l.nats != nil {
		l.nats.Shutdown()
		l.nats.WaitForShutdown()
		l.nats = nil
	}
}

func (l *lab) config() node.Config {
	natsURL := l.natsURL()
	if l.brokerNATS != "" {
		natsURL = l.brokerNATS
	}
	return node.Config{
		DataDir: l.dir, Listen: l.listen, Admin: node.Admin{Listen: "127.0.0.1:0"}, NATS: node.NATS{URL: natsURL, Services: map[string]string{"over-nats": ""}}, PublicURL: l.issuer,
		Audience: []string{"demo-api"}, BrowserClient: "spa", BrowserScope: "hello:read",
		Clients:   []broker.Client{{ID: "spa"}, {ID: service, Secret: secret}},
		Passwords: cheapPasswords, Public: plainHTTP(),
		Logger: slog.New(slog.NewTextHandler(&l.warnings, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Fatal:  func(err error) { panic(err) },
	}
}

func (l *lab) startBroker() {
	l.t.Helper()
	n, err := node.Start(l.t.Context(), l.config())
	if err != nil {
		l.t.Fatal(err)
	}
	var taken *broker.Error
	_, err = n.Operators().AddUser(l.t.Context(), operator.NewUser{Username: "ada", Password: "lovelace"}, broker.Request{})
	if err != nil && (!errors.As(err, &taken) || taken.Code != broker.CodeUserExists) {
		l.t.Fatal(err)
	}
	l.node = n
	l.t.Cleanup(func() { l.stopBroker() })
}

func (l *lab) stopBroker() {
	if l.node != nil {
		if err := l.node.Close(); err != nil {
			l.t.Errorf("closing: %v", err)
		}
		l.node = nil
	}
}

func (l *lab) startService(maxStaleness time.Duration, change ...func(*validator.Config)) *validator.Validator {
	l.t.Helper()
	feedURL := l.natsURL()
	if l.feedURL != "" {
		feedURL = l.feedURL
	}
	config := validator.Config{
		Issuer: l.node.Issuer(), Audience: "demo-api", Client: validator.Client{ID: service, Secret: secret},
		Feed: natsfeed.Feed{URL: feedURL}, MaxStaleness: maxStaleness, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&config)
	}
	v, err := validator.New(l.t.Context(), config)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(v.Close)
	return v
}

// browser is one signed-in session.
type browser struct {
	l                    *lab
	access, csrf, cookie string
}

func (l *lab) signIn() *browser {
	l.t.Helper()
	b := &browser{l: l}
	if status := b.post("/auth/sign-in/", `{"username": "ada", "password": "lovelace"}`); status != http.StatusOK {
		l.t.Fatalf("sign-in: %d", status)
	}
	return b
}

func (b *browser) post(path, body string) int {
	b.l.t.Helper()
	req, err := http.NewRequestWithContext(b.l.t.Context(), http.MethodPost, "http://"+b.l.listen+path, strings.NewReader(body))
	if err != nil {
		b.l.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if b.cookie != "" {
		req.Header.Set("Cookie", b.cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Access string `json:"access_token"`
		CSRF   string `json:"CSRF_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		b.l.t.Fatal(err)
	}
	if answer.Access != "" {
		b.access, b.csrf = answer.Access, answer.CSRF
		b.cookie = resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value
	}
	return resp.StatusCode
}

func (b *browser) logOff() int { return b.post("/auth/logoff/", `{"CSRF_token": "`+b.csrf+`"}`) }

func (l *lab) refused(v *validator.Validator, b *browser) {
	l.t.Helper()
	eventually(l.t, "the service refuses the token", func() bool {
		_, err := v.Validate(l.t.Context(), b.access)
		return errors.Is(err, validator.ErrRevoked)
	})
}

// refusedAtOnce waits until a log-off is answered 200 and reaches the service through its feed.
func (l *lab) refusedAtOnce(v *validator.Validator) {
	l.t.Helper()
	l.pushed(v, http.StatusOK)
}

// pushed waits until a log-off is answered with status and is known to the service without a catch-up.
func (l *lab) pushed(v *validator.Validator, status int) {
	l.t.Helper()
	eventually(l.t, "a log-off is known without a catch-up", func() bool {
		b := l.signIn()
		l.accepted(v, b)
		before := v.Stats().Feed.CatchUps
		if b.logOff() != status {
			return false
		}
		l.refused(v, b)
		return v.Stats().Feed.CatchUps == before
	})
}

// live waits until the service hears three messages in a row, at least a second apart when they are
// heartbeats, without a catch-up between them: its feed keeps it current.
func (l *lab) live(v *validator.Validator) {
	l.t.Helper()
	since := v.Stats().Feed
	eventually(l.t, "the service lives on its feed", func() bool {
		now := v.Stats().Feed
		if now.CatchUps != since.CatchUps {
			since = now
		}
		return now.Messages >= since.Messages+3
	})
}

// polled waits until the service has caught up once more, as it does without heartbeats. check holds all the while.
func (l *lab) polled(v *validator.Validator, check func()) {
	l.t.Helper()
	before := v.Stats().Feed
	eventually(l.t, "the service polls", func() bool {
		check()
		now := v.Stats().Feed
		return now.CatchUps-now.FailedCatchUps > before.CatchUps-before.FailedCatchUps
	})
}

func (l *lab) accepted(v *validator.Validator, b *browser) {
	l.t.Helper()
	eventually(l.t, "the service accepts a good token", func() bool {
		_, err := v.Validate(l.t.Context(), b.access)
		if errors.Is(err, validator.ErrRevoked) || errors.Is(err, validator.ErrInvalid) {
			l.t.Fatalf("a good token: %v", err)
		}
		return err == nil
	})
}

// TestNATSDownFromTheStart checks that without NATS the broker starts and accepts sign-ins, that a
// log-off is durable and answered 202, and that services learn of it by a catch-up, and at once when
// NATS is back.
func TestNATSDownFromTheStart(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	l := newLab(t)
	l.startBroker()
	l.checkReady("degraded")
	v := l.startService(0)
	b := l.signIn()
	l.accepted(v, b)
	if status := b.logOff(); status != http.StatusAccepted {
		t.Errorf("log-off without NATS: %d, want 202", status)
	}
	l.refused(v, b)

	l.startNATS()
	l.checkReady("ready")
	l.refusedAtOnce(v)

	l.stopNATS()
	last := l.signIn()
	eventually(t, "a log-off is answered 202", func() bool {
		last = l.signIn()
		return last.logOff() == http.StatusAccepted
	})
	l.refused(v, last)

	l.startNATS()
	l.refusedAtOnce(v)
}

// TestBothConnectionsLost checks that a service without NATS and without the broker answers 503 once
// its knowledge is older than the bound, and judges tokens correctly after both are back.
func TestBothConnectionsLost(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	v := l.startService(2 * time.Second)
	kept, ended := l.signIn(), l.signIn()
	l.accepted(v, kept)
	if status := ended.logOff(); status != http.StatusOK {
		t.Fatalf("log-off: %d", status)
	}
	l.refused(v, ended)

	l.stopNATS()
	l.stopBroker()
	eventually(t, "the service is stale", func() bool {
		_, err := v.Validate(t.Context(), kept.access)
		return errors.Is(err, validator.ErrStale)
	})
	for _, b := range []*browser{kept, ended} {
		if _, err := v.Validate(t.Context(), b.access); !errors.Is(err, validator.ErrStale) {
			t.Errorf("stale, and the answer is %v", err)
		}
	}
	if status := l.serve(v, kept); status != http.StatusServiceUnavailable {
		t.Errorf("stale over HTTP: %d", status)
	}

	l.startNATS()
	l.startBroker() // another origin, the same store
	l.accepted(v, kept)
	if _, err := v.Validate(t.Context(), ended.access); !errors.Is(err, validator.ErrRevoked) {
		t.Errorf("a revocation of the former process: %v", err)
	}
	if status := kept.logOff(); status != http.StatusOK && status != http.StatusAccepted {
		t.Errorf("log-off at the new process: %d", status)
	}
	l.refused(v, kept)
}

func (l *lab) checkReady(want string) {
	l.t.Helper()
	eventually(l.t, "readyz says "+want, func() bool { return l.ready(want) })
}

// ready reports whether readyz answers 200 with that status.
func (l *lab) ready(want string) bool {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "http://"+l.listen+"/readyz?verbose", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode == http.StatusOK && strings.Contains(string(body), `"status":"`+want+`"`)
}

// freePort returns a port for a server that keeps it over restarts.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := strconv.Atoi(freeport.Take(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func loopback(port int) string {
	return (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String()
}

// patience is the longest wait for an event, long enough for a very busy machine.
const patience = time.Minute

// eventually polls until ok returns true, and fails the test after patience.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func TestAMalformedPositionIsTheCallersFault(t *testing.T) {
	l := newLab(t)
	l.startBroker()
	for after, want := range map[string]int{"": http.StatusOK, "nonsense": http.StatusBadRequest, "a.b.c": http.StatusBadRequest} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.node.Issuer()+"/revocations?after="+after, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(service, secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("after=%q: %d, want %d", after, resp.StatusCode, want)
		}
	}
}

// plainHTTP returns the settings of a public surface without TLS.
func plainHTTP() (public api.Config) {
	public.Browser.Cookie.Insecure = true
	return public
}
