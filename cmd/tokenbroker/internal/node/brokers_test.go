package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store/memstore"
	"tokenbroker/validator"
)

// brokers is a lab of several brokers on one shared store, with one NATS server, behind a balancer that is their
// issuer.
type brokers struct {
	*lab
	engine   *memstore.Engine
	balancer *httptest.Server
	mu       sync.Mutex // mu guards next, and changes of all and of the members' addresses, which the balancer reads
	all      []*member
	next     int // the balancer's turn
	kek      keyring.KEK
}

// member is one broker of the lab.
type member struct {
	lab    *brokers
	name   string
	dir    string
	node   *node.Node
	addr   string
	fault  atomic.Pointer[func(memstore.Op) memstore.Fault]
	offset atomic.Int64 // of its clock, in nanoseconds
	down   atomic.Bool  // the balancer passes it over
	log    logBuffer
	fatal  chan error
}

// newBrokers starts n brokers, a, b, c, … and the user ada.
func newBrokers(t *testing.T, n int) *brokers {
	t.Helper()
	b := &brokers{lab: newLab(t), engine: memstore.NewEngine(nil), kek: make(keyring.KEK, keyring.KEKSize)}
	b.kek[0] = 1
	b.startNATS()
	b.balancer = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", b.issuerHost() },
		Transport: b, FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	})
	t.Cleanup(b.balancer.Close)
	b.issuer = b.balancer.URL
	for i := range n {
		m := b.add(string(rune('a' + i)))
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.all[0].node.Operators().AddUser(t.Context(), operator.NewUser{Username: "ada", Password: "lovelace"}, broker.Request{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range b.all {
		m.becomes(http.StatusOK)
	}
	return b
}

func (b *brokers) issuerHost() string {
	u, err := url.Parse(b.issuer)
	if err != nil {
		b.t.Fatal(err)
	}
	return u.Host
}

// add adds a broker that is not started.
func (b *brokers) add(name string) *member {
	m := &member{lab: b, name: name, dir: filepath.Join(b.t.TempDir(), name), fatal: make(chan error, 1)}
	m.heal()
	b.change(func() { b.all = append(b.all, m) })
	return m
}

// change changes what the balancer reads.
func (b *brokers) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// config is the configuration of a broker. Each start opens the engine again.
func (m *member) config() node.Config {
	c := m.lab.config()
	c.DataDir = m.dir
	c.Listen, c.PublicURL, c.KEK = "127.0.0.1:0", m.lab.issuer, m.lab.kek
	c.Name, c.Engine = m.name, m.lab.engine.Open(func(op memstore.Op) memstore.Fault { return (*m.fault.Load())(op) })
	c.JWKSMaxAge = time.Minute // of which a tenth is the margin
	c.Wall = func() time.Time { return time.Now().Add(time.Duration(m.offset.Load())) }
	c.Logger = slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c.Fatal = func(err error) {
		select {
		case m.fatal <- err:
		default:
		}
	}
	return c
}

func (m *member) start(change ...func(*node.Config)) error {
	m.lab.t.Helper()
	c := m.config()
	for _, f := range change {
		f(&c)
	}
	n, err := node.Start(m.lab.t.Context(), c)
	if err != nil {
		return err
	}
	m.node = n
	m.lab.change(func() { m.addr = n.Addr() })
	m.down.Store(false)
	m.lab.t.Cleanup(m.stop)
	return nil
}

// stop stops the broker cleanly.
func (m *member) stop() {
	if m.node != nil {
		m.down.Store(true)
		if err := m.node.Close(); err != nil {
			m.lab.t.Errorf("closing broker %s: %v", m.name, err)
		}
		m.node = nil
		m.survived()
	}
}

// survived checks that nothing asked for the end of the process.
func (m *member) survived() {
	m.lab.t.Helper()
	select {
	case err := <-m.fatal:
		m.lab.t.Errorf("broker %s ends its process: %v", m.name, err)
	default:
	}
}

// kill stops the broker so that it can neither end its origin nor commit anything more.
func (m *member) kill() {
	m.refuse()
	m.down.Store(true)
	_ = m.node.Close()
	m.node = nil
	m.survived()
}

// fail makes the broker's use of the engine fail as f says, refuse makes all of it fail, and heal none.
func (m *member) fail(f func(memstore.Op) memstore.Fault) { m.fault.Store(&f) }
func (m *member) refuse()                                 { m.fail(func(memstore.Op) memstore.Fault { return memstore.Refuse }) }
func (m *member) heal()                                   { m.fail(func(memstore.Op) memstore.Fault { return memstore.OK }) }

// RoundTrip sends a request to the next broker that runs. It tries the others if there is no connection.
func (b *brokers) RoundTrip(r *http.Request) (*http.Response, error) {
	err := errors.New("no broker runs")
	var addrs []string
	b.change(func() {
		b.next++
		for i := range b.all {
			if m := b.all[(b.next+i)%len(b.all)]; !m.down.Load() {
				addrs = append(addrs, m.addr)
			}
		}
	})
	for _, addr := range addrs {
		out := r.Clone(r.Context())
		out.URL.Host = addr
		var resp *http.Response
		if resp, err = http.DefaultTransport.RoundTrip(out); err == nil {
			return resp, nil
		}
		var refused *net.OpError
		if !errors.As(err, &refused) || refused.Op != "dial" {
			return nil, err
		}
	}
	return nil, err
}

// reply is an answer of a broker.
type reply struct {
	status int
	header http.Header
	body   string
}

// accepted reports whether a log-off is recorded. The status is 202 if a busy machine has not sent its message within 250 ms.
func (a reply) accepted() bool { return a.status == http.StatusOK || a.status == http.StatusAccepted }

// tries to send a request to a broker, or through the balancer if m is nil.
func (b *brokers) try(m *member, method, path, body, cookie string) (reply, error) {
	base := b.issuer
	if m != nil {
		base = "http://" + m.addr
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	return send(req)
}

// send returns the answer of a request.
func send(req *http.Request) (reply, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

func (b *brokers) do(m *member, method, path, body, cookie string) reply {
	b.t.Helper()
	a, err := b.try(m, method, path, body, cookie)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// patient repeats a request that a broker has not begun because it cannot answer for now, as after a pause of a busy machine. A
// failure of the engine is not repeated.
func (b *brokers) patient(ask func() reply) (a reply) {
	b.t.Helper()
	eventually(b.t, "the broker can answer", func() bool {
		a = ask()
		return a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "This broker cannot answer for now")
	})
	return a
}

// ask posts a request patiently.
func (b *brokers) ask(m *member, path, body, cookie string) reply {
	b.t.Helper()
	return b.patient(func() reply { return b.do(m, http.MethodPost, path, body, cookie) })
}

// becomes waits until the broker's readyz answers with the status.
func (m *member) becomes(status int) {
	m.lab.t.Helper()
	eventually(m.lab.t, fmt.Sprintf("readyz of broker %s answers %d", m.name, status), func() bool {
		return m.lab.do(m, http.MethodGet, "/readyz", "", "").status == status
	})
}

// roamer is a browser that uses several brokers.
type roamer struct {
	b                    *brokers
	access, csrf, cookie string
}

// take reads the tokens of an answer.
func (s *roamer) take(a reply) reply {
	s.b.t.Helper()
	if a.status != http.StatusOK {
		return a
	}
	var grant struct {
		Access string `json:"access_token"`
		CSRF   string `json:"CSRF_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &grant); err != nil {
		s.b.t.Fatal(err)
	}
	cookies := (&http.Response{Header: a.header}).Cookies()
	if grant.Access != "" && len(cookies) > 0 {
		s.access, s.csrf, s.cookie = grant.Access, grant.CSRF, cookies[0].Name+"="+cookies[0].Value
	}
	return a
}

func (b *brokers) signInAt(m *member) *roamer {
	b.t.Helper()
	s := &roamer{b: b}
	if a := s.take(b.ask(m, "/auth/sign-in/", `{"username": "ada", "password": "lovelace"}`, "")); a.status != http.StatusOK {
		b.t.Fatalf("sign-in: %d %s\n%s", a.status, a.body, b.logs())
	}
	return s
}

func (s *roamer) body() string { return `{"CSRF_token": "` + s.csrf + `"}` }

func (s *roamer) refreshAt(m *member) reply {
	s.b.t.Helper()
	return s.take(s.b.ask(m, "/auth/refresh/", s.body(), s.cookie))
}

func (s *roamer) logOffAt(m *member) reply {
	s.b.t.Helper()
	return s.b.ask(m, "/auth/logoff/", s.body(), s.cookie)
}

// once posts a request of the session without a repetition.
func (s *roamer) once(m *member, path string) reply {
	s.b.t.Helper()
	return s.b.do(m, http.MethodPost, path, s.body(), s.cookie)
}

// verifyAt returns the status and the code of a broker's own check of a token.
func (b *brokers) verifyAt(m *member, access string) (int, string) {
	b.t.Helper()
	a := b.ask(m, "/auth/verify/", `{"token": "`+access+`"}`, "")
	var problem struct{ Code string }
	_ = json.Unmarshal([]byte(a.body), &problem)
	return a.status, problem.Code
}

// service is a validator with the log of its states.
type watched struct {
	*validator.Validator
	log *logBuffer
}

// noFeed is a feed that delivers nothing, so that the service polls.
type noFeed struct{}

func (noFeed) Open(context.Context, revocation.Sink) (io.Closer, error) {
	return io.NopCloser(nil), nil
}

// services starts a service over NATS, one over SSE and one that polls. All reach the brokers through the balancer.
func (b *brokers) services(maxStaleness time.Duration) map[string]watched {
	b.t.Helper()
	client := validator.Client{ID: service, Secret: secret}
	all := map[string]watched{}
	for name, feed := range map[string]revocation.Feed{
		"nats": natsfeed.Feed{URL: b.natsURL()}, "sse": httpfeed.Feed{URL: b.issuer, Client: client}, "poll": noFeed{},
	} {
		log := &logBuffer{}
		v, err := validator.New(b.t.Context(), validator.Config{
			Issuer: b.issuer, Audience: "demo-api", Client: client, Service: "svc-" + name, Feed: feed, MaxStaleness: maxStaleness,
			Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(v.Close)
		all[name] = watched{v, log}
	}
	return all
}

// stales returns how often the service became stale.
func (w watched) stales() int {
	return strings.Count(w.log.String(), "revocations are not known to be current")
}

// logs returns what the brokers logged.
func (b *brokers) logs() string {
	var all strings.Builder
	for _, m := range b.all {
		fmt.Fprintf(&all, "broker %s:\n%s", m.name, m.log.String())
	}
	return all.String()
}
