package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"tokenbroker/api"
	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/keyring"
	"tokenbroker/store"
)

// Config configures a node. Addresses are host:port. With port 0 the system chooses a free port.
type Config struct {
	// DataDir is the directory of the store and of the keys. It is created with mode 0700 if it does not exist.
	DataDir string
	// Engine is a store that several brokers share. If nil, the store is in DataDir and this is its only broker;
	// otherwise DataDir has only the sockets, and the secrets that are not configured. The caller closes it
	// after the node.
	Engine store.Engine
	// Name is the name of this broker, which differs from those of the other brokers of Engine and is the same in each run. It
	// is required with an Engine.
	Name string
	// Force starts the broker although another one hears services that do not understand several brokers, which
	// become stale.
	Force bool
	// Speaks has the lowest and the highest version of the store that this program can use. If zero, it is that of this program;
	// anything else is for tests of other versions.
	Speaks [2]int
	// Wall is the wall clock of the machine. If nil, it is time.Now. It is for tests.
	Wall func() time.Time
	// FreeSpace returns the number of free bytes below a directory. If nil, it is that of the file system. It is for
	// tests.
	FreeSpace func(dir string) (uint64, error)
	// KEK seals the private keys. If nil, it is that of the file kek in DataDir, which the first start creates.
	KEK keyring.KEK
	// Listen is the public address. PublicURL is the issuer. If PublicURL is empty, it is http:// and the
	// address of the listener.
	Listen, PublicURL string
	// LoopbackIPv6 also listens on [::1] at the port of Listen, where the machine has IPv6 and the port is free.
	LoopbackIPv6 bool
	// Certificate returns the certificate for a connection. If nil, the public listener does not speak TLS.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Connections httpserver.Connections
	// Public has the settings of the public surface: the origins, the home URL, the cookie, the trusted proxies,
	// InsecureDevelopment and the demo page. The node sets the rest.
	Public api.Config
	NATS   NATS
	Admin  Admin

	Audience []string
	// Schedule has the algorithm and the times of the signing keys. If its RotateEvery is 0, they are rotated
	// only by hand.
	keyring.Schedule
	// BrowserClient is the client that browser sessions belong to. They are granted BrowserScope.
	BrowserClient string
	BrowserScope  string
	Clients       []broker.Client
	// Resources are the resource URIs by audience name (RFC 8707). ScopeTexts describe scopes on the consent page.
	Resources  map[string]string
	ScopeTexts map[string]string
	// ScopesSupported are the scopes that discovery names. If empty, it names only openid.
	ScopesSupported []string
	Documents       Documents
	Registration    Registration
	// Policy has the lifetimes of sessions. If it is zero, [session.DefaultPolicy] is used.
	Policy session.Policy
	// Mailbox is the capacity of each actor's queue. If 0, it is the broker's default. If a queue is full,
	// requests are answered with 503.
	Mailbox int
	// Passwords is the cost of a password's hash. If it is zero, it is the default. It MUST NOT be less where
	// people have passwords.
	Passwords password.Params
	// CustomClaims adds claims to access tokens. If nil, they have only the standard claims.
	CustomClaims credential.CustomClaims
	// Providers returns the upstream providers by name. If nil, there are none.
	Providers func(issuer string, via Transport) (map[string]Provider, error)
	// SignedOutURL is the URL to which a provider's log-out sends the browser. If empty, it is PublicURL with a slash.
	SignedOutURL string
	// Seed is called before the listeners answer, to add what has to be there from the first request on. It
	// may be nil.
	Seed    func(ctx context.Context, n *Node) error
	Version string
	// Setting returns the name that an operator knows a configuration key by, for errors. If nil, it is the flag of
	// dev: --admin-listen for admin.listen.
	Setting func(key string) string
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Audit receives the lines of security events. If nil, Logger receives them.
	Audit *slog.Logger
	// Fatal is called when the process has to end immediately. It must not return.
	Fatal func(error)
}

// NATS configures an embedded NATS server at Listen, or the connection to the server at URL.
type NATS struct {
	URL                         string
	User, Password, Credentials string
	TLS                         *tls.Config
	// Services has the passwords of the services' users at the embedded server, by the services' ids. With a
	// URL the passwords are unused.
	Services map[string]string
	// Listen and the fields below it are for the embedded server. ServiceUser is a user that services share.
	// If it and Services are empty, it is "services", with a password that the first start writes to the file
	// NATSPasswordFile in DataDir. Users have only the rights that a service needs.
	Listen                       string
	ServiceUser, ServicePassword string
	// InsecureAnonymous lets any client do everything at the embedded server. It MUST NOT be set
	// outside of development and tests.
	InsecureAnonymous bool
	ServerTLS         *tls.Config
}

// Admin configures the operators' surface.
type Admin struct {
	// Socket is the path of the unix socket. If empty, it is admin/admin.sock in DataDir.
	Socket string
	// Listen is the address of the TCP listener. If empty, there is only the socket.
	Listen string
	// Certificate returns the certificate for a connection. If nil, the TCP listener speaks plain HTTP, which MUST
	// NOT leave loopback.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Token is the bearer token of the TCP listener. If empty, it is that of the file AdminTokenFile in DataDir,
	// which the first start creates.
	Token string
	// MetricsToken is a bearer token that is accepted only for GET /metrics of the TCP listener. If empty, there is none.
	MetricsToken string
	Hosts        []string
}

// Documents configures clients whose id is the URL of their Client ID Metadata Document.
type Documents struct {
	Enabled bool
	// Hosts are the hosts whose documents are accepted. If empty, all are.
	Hosts []string
	// InsecureLoopback also allows documents and key sets at http and on loopback addresses. It MUST NOT be set outside of development.
	InsecureLoopback bool
	// Policy is what such clients may have.
	Policy broker.ClientPolicy
}

// Registration configures clients that register themselves (RFC 7591).
type Registration struct {
	// Enabled allows registrations. A client that is registered already may be used in any case, with what Policy allows.
	Enabled bool
	// InitialToken is the bearer token that a registration needs. If empty, it needs none.
	InitialToken string
	// PerMinute is how many registrations an address may make at this broker, and MaxClients how many clients may be registered at a time.
	PerMinute, MaxClients int
	// UnusedAfter is how long a client is kept that is not used.
	UnusedAfter time.Duration
	// Policy is what such clients may have.
	Policy broker.ClientPolicy
}

// Transport is what a node passes to its providers.
type Transport struct {
	// Instrument returns a wrapper that counts the requests to the provider of that name.
	Instrument func(provider string) func(http.RoundTripper) http.RoundTripper
	// Wall is the wall clock of the machine.
	Wall   func() time.Time
	Logger *slog.Logger
}

// Provider is an upstream provider. Ready reports for GET /readyz whether it can be reached.
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
	if c.Engine != nil && (c.Name == "" || c.NATS.URL == "") {
		return errors.New("node: with an Engine, Name and NATS.URL are required: brokers reach each other's services by one NATS")
	}
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Policy == (session.Policy{}) {
		c.Policy = session.DefaultPolicy
	}
	if c.Engine != nil {
		if err := c.Policy.CheckShared().Err(); err != nil {
			return err
		}
	}
	if len(c.ScopesSupported) == 0 {
		c.ScopesSupported = []string{credential.ScopeOpenID}
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
