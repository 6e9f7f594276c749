package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"tokenbroker/api"
	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/keyring"
)

// Config of a node. Addresses are host:port; port 0 takes a free one.
type Config struct {
	// DataDir holds the store and the key encryption key; made with mode 0700.
	DataDir string
	// FreeSpace gives the bytes free below a directory; nil: asks the file system. For tests.
	FreeSpace func(dir string) (uint64, error)
	// KEK seals the private keys; nil: the file kek in DataDir, made at the first start.
	KEK keyring.KEK
	// Listen is the public address. PublicURL is the issuer; empty: http:// and that address.
	Listen, PublicURL string
	// LoopbackIPv6 also listens on [::1] at the port of Listen, where the machine has IPv6 and the port is free.
	LoopbackIPv6 bool
	// Certificate, when set, makes the public listener speak TLS; it is asked for each connection.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Connections httpserver.Connections
	// Public has the settings of the public surface: the origins, the home URL, the cookie, the trusted proxies,
	// InsecureDevelopment and the demo page. The node sets the rest.
	Public api.Config
	NATS   NATS
	Admin  Admin

	Audience []string
	// Schedule is of the signing keys. If its RotateEvery is 0, they are rotated by hand only.
	keyring.Schedule
	// BrowserClient owns the browser sessions, which are granted BrowserScope.
	BrowserClient string
	BrowserScope  string
	Clients       []broker.Client
	// Policy is of the sessions. If it is zero, session.DefaultPolicy.
	Policy session.Policy
	// Mailbox bounds each actor's queue; 0: the broker's default. A full one is answered 503.
	Mailbox int
	// Passwords is the cost of a password's hash; the zero value is the default. A server that
	// keeps passwords of people MUST NOT make it less.
	Passwords password.Params
	// CustomClaims may be nil: the standard claims alone.
	CustomClaims credential.CustomClaims
	// Providers makes the upstream providers by name, given the broker's issuer; may be nil.
	Providers func(issuer string, via Transport) (map[string]Provider, error)
	// SignedOutURL is where a provider's log-out sends the browser. If empty, PublicURL's root.
	SignedOutURL string
	// Seed is called before the listeners answer, to add what has to be there from the first request on. It
	// may be nil.
	Seed    func(ctx context.Context, n *Node) error
	Version string
	// Setting names a configuration key as the operator knows it, for errors; default: dev's
	// flag ("admin.listen" is --admin-listen).
	Setting func(key string) string
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Audit receives the lines of security events. If nil, Logger does.
	Audit *slog.Logger
	// Fatal is called when the process has to end at once; it must not return.
	Fatal func(error)
}

// NATS is an embedded server at Listen, or one elsewhere at URL.
type NATS struct {
	URL                         string
	User, Password, Credentials string
	TLS                         *tls.Config
	// Services are the services' ids, each with the password of its user at the embedded server.
	// With a URL the passwords are unused.
	Services map[string]string
	// Listen and the rest are the embedded server's. ServiceUser is one that services share. If it
	// and Services are empty, it is "services", with a password that is made at the first start
	// and kept in the file NATSPasswordFile in DataDir. Users may do no more than a service has to.
	Listen                       string
	ServiceUser, ServicePassword string
	// InsecureAnonymous lets any client do everything at the embedded server. It MUST NOT be set
	// outside of development and tests.
	InsecureAnonymous bool
	ServerTLS         *tls.Config
}

// Admin is the operators' surface.
type Admin struct {
	// Socket is the unix socket's path; default admin/admin.sock in DataDir.
	Socket string
	// Listen is the TCP address; empty: the socket alone.
	Listen string
	// Certificate makes the TCP listener speak TLS; it is asked for each connection. If nil, the
	// listener speaks plain HTTP, which MUST NOT leave loopback.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Token is the bearer token on TCP; empty: the file admin-token in DataDir, made at the first start.
	Token string
	// MetricsToken opens GET /metrics on TCP alone; empty: Token does.
	MetricsToken string
	Hosts        []string
}

// Transport is what a node hands to its providers.
type Transport struct {
	// Instrument returns a wrapper that counts the requests to the provider of that name.
	Instrument func(provider string) func(http.RoundTripper) http.RoundTripper
	Logger     *slog.Logger
}

// Provider is an upstream provider, and whether it can be reached for readyz.
type Provider interface {
	broker.IdentityProvider
	Ready(ctx context.Context) bool
	Issuer() string
	Issuers() []string
}

func (c *Config) validate() error {
	if c.DataDir == "" || c.Listen == "" || c.NATS.Listen == "" && c.NATS.URL == "" {
		return errors.New("node: DataDir, Listen and one of NATS.Listen and NATS.URL are required")
	}
	if len(c.Audience) == 0 || c.BrowserClient == "" || c.Fatal == nil {
		return errors.New("node: Audience, BrowserClient and Fatal are required")
	}
	if c.Policy == (session.Policy{}) {
		c.Policy = session.DefaultPolicy
	}
	if c.Admin.Socket == "" {
		c.Admin.Socket = adminsocket.Path(c.DataDir)
	}
	if c.Setting == nil {
		c.Setting = func(key string) string { return "--" + strings.NewReplacer(".", "-", "_", "-").Replace(key) }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Audit = cmp.Or(c.Audit, c.Logger)
	return nil
}
