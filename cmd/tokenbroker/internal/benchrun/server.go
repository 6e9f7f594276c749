package benchrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/origin"
	"tokenbroker/broker"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/httpclient"
	"tokenbroker/revocation"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
)

// Account is the user that signs in at a server at a URL.
type Account struct{ Username, Password string }

// String returns the name without the password, as do all other ways to print an Account.
func (a Account) String() string { return "user " + a.Username }

// GoString implements [fmt.GoStringer].
func (a Account) GoString() string { return a.String() }

// Options configure the use of a server at a URL.
type Options struct {
	// URL is the broker's issuer.
	URL string
	// Account signs in and has all sessions. Service requests revocations, for the benchmarks with a
	// validator.
	Account Account
	Service validator.Client
	// NATS is where the validators subscribe. If empty, they subscribe over HTTP.
	NATS NATS
}

// NATS is the URL of a NATS server and a service's account there.
type NATS struct{ URL, User, Password, Credentials string }

// Server is the broker under load.
type Server struct {
	options Options
	own     *node.Node // nil for a server at a URL
	dataDir string     // of an own server
	// params are the argon2id parameters of an own server.
	params password.Params
	http   *http.Client
	// accounts share the sessions at a URL. If empty, options.Account has all of them.
	accounts  []Account
	processes *Processes // of a cluster, or nil if they are not known
	users     int        // of an own server
	opened    int        // sessions that were opened at an own server
}

// requestTimeout is the time limit of each request of the load.
const requestTimeout = 10 * time.Second

// maxConnections is the number of connections that are kept open to the server: the maximum number of
// concurrent requests.
const maxConnections = 4096

// newHTTP returns the client of all loads: connections are kept, redirects are not followed.
func newHTTP() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return httpclient.New(&http.Transport{
		DialContext: dialer.DialContext, MaxIdleConns: maxConnections, MaxIdleConnsPerHost: maxConnections,
		IdleConnTimeout: time.Minute, DisableCompression: true, TLSHandshakeTimeout: 5 * time.Second,
	}, requestTimeout)
}

// At returns the server at a URL after it reported that it is ready.
func At(ctx context.Context, o Options) (*Server, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usage("--url: want http://HOST:PORT or https://HOST, the broker's issuer")
	}
	if u.Scheme == "http" && !origin.LoopbackHost(u.Hostname()) {
		return nil, usage("--url: %q is not this machine: a password goes over plain http only to loopback (use https, or an ssh tunnel)", u.Hostname())
	}
	if o.Account.Username == "" || o.Account.Password == "" {
		return nil, usage("--url requires --username and --password-stdin")
	}
	return at(ctx, o)
}

// at returns the server at a URL that was checked.
func at(ctx context.Context, o Options) (*Server, error) {
	o.URL = strings.TrimSuffix(o.URL, "/")
	s := &Server{options: o, http: newHTTP()}
	if _, err := s.get(ctx, "/readyz"); err != nil {
		s.Close()
		return nil, fmt.Errorf("asking %s whether it is ready: %w", o.URL, err)
	}
	return s, nil
}

// Own reports whether the benchmark started the server.
func (s *Server) Own() bool { return s.own != nil }

// URL returns the broker's issuer.
func (s *Server) URL() string { return s.options.URL }

// Close closes the idle connections. An own server is stopped by the function that [StartOwn] returned.
func (s *Server) Close() { s.http.CloseIdleConnections() }

// feed returns the feed from which a validator receives revocations.
func (s *Server) feed() revocation.Feed {
	if nats := s.options.NATS; nats.URL != "" {
		return natsfeed.Feed{
			URL: nats.URL, User: nats.User, Password: nats.Password, Credentials: nats.Credentials, Name: "tokenbroker bench",
		}
	}
	return httpfeed.Feed{
		URL: s.options.URL, Client: s.options.Service,
		HTTPClient: &http.Client{Transport: http.DefaultTransport},
	}
}

// hasService reports whether validators can be started.
func (s *Server) hasService() error {
	if s.options.Service.ID == "" || s.options.Service.Secret == "" {
		return usage("the secret of the validators' client is missing: TOKENBROKER_BENCH_CLIENT_SECRET, or the file TOKENBROKER_BENCH_CLIENT_SECRET_FILE")
	}
	return nil
}

const (
	ownAudience      = "bench"
	ownScope         = "bench:read"
	ownBrowserClient = "bench-spa"
	ownService       = "bench-service"
	// ownSecret and ownPassword are for a server on loopback that stops with the benchmark.
	ownSecret   = "bench-service-secret-of-a-server-on-loopback"
	ownPassword = "bench-password"
)

// cheapPasswords are an own server's argon2id parameters if sign-ins are not
// measured.
var cheapPasswords = password.Params{Memory: 64, Time: 1, Threads: 1}

// OwnConfig configures a benchmark's own server.
type OwnConfig struct {
	// TempDir is where its temporary directory is created. If empty, it is the system's directory for
	// temporary files.
	TempDir string
	Version string
	// Warn receives the server's log lines of level warn and above. All other lines are formatted, as in
	// production, and discarded.
	Warn io.Writer
	// RealPasswords makes sign-ins as expensive as in production. Otherwise they are cheap, so that the
	// sessions of a benchmark are created quickly.
	RealPasswords bool
	// Fatal is called when the process must end at once; it must not return.
	Fatal func(error)
}

// StartOwn starts a broker on free ports of loopback, with a store in a temporary directory
// and an embedded NATS server, as dev does. stop drains it and removes the directory.
func StartOwn(ctx context.Context, cfg OwnConfig) (s *Server, stop func() error, err error) {
	dir, err := os.MkdirTemp(cfg.TempDir, "tokenbroker-bench-*")
	if err != nil {
		return nil, nil, fmt.Errorf("making a temporary data directory: %w (select another with --temp-dir)", err)
	}
	params := cheapPasswords
	if cfg.RealPasswords {
		params = password.DefaultParams
	}
	policy := session.DefaultPolicy
	policy.AccessLife = time.Hour // so that no token expires during a benchmark
	n, err := node.Start(ctx, node.Config{
		DataDir: dir, Listen: "127.0.0.1:0", NATS: node.NATS{Listen: "127.0.0.1:0", InsecureAnonymous: true}, Admin: node.Admin{Listen: "127.0.0.1:0"}, Version: cfg.Version,
		Audience: []string{ownAudience}, BrowserClient: ownBrowserClient, BrowserScope: ownScope, Public: plainHTTP(),
		Clients: []broker.Client{
			{ID: ownBrowserClient, Scopes: []string{ownScope}},
			{ID: ownService, Secret: ownSecret, Scopes: []string{ownScope}},
		},
		Policy: policy, Passwords: params, Logger: Logger(cfg.Warn), Fatal: cfg.Fatal,
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("starting the benchmark's own server: %w", err), os.RemoveAll(dir))
	}
	s = &Server{own: n, dataDir: dir, params: params, http: newHTTP(), options: Options{
		URL: n.Issuer(), Service: validator.Client{ID: ownService, Secret: ownSecret}, NATS: NATS{URL: n.NATSURL()},
	}}
	return s, func() error {
		s.Close()
		return errors.Join(n.Close(), os.RemoveAll(dir))
	}, nil
}

// Logger formats every line, as a server in production does, and writes only those of level warn and above
// to w.
func Logger(w io.Writer) *slog.Logger {
	serious := new(slog.LevelVar)
	serious.Set(slog.LevelWarn)
	return slog.New(slog.NewMultiHandler(
		logging.New(io.Discard, logging.Config{Format: logging.FormatJSON}).Handler(),
		logging.New(w, logging.Config{Level: serious}).Handler(),
	))
}

// plainHTTP returns the settings of a public surface without TLS.
func plainHTTP() (public api.Config) {
	public.Browser.Cookie.Insecure = true
	return public
}
