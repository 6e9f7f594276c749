package pgstore

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Defaults of [Config].
const (
	DefaultSchema         = "tokenbroker"
	DefaultMaxConnections = 16
	DefaultTryFor         = 2 * time.Second
)

const (
	// rounds is for how many times Config.TryFor an operation tries again before it fails.
	rounds = 3
	// maxMessage bounds one message of the server: the largest record, with room.
	maxMessage = 64 << 20
)

var schemas = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Config configures a [Store]. URL is required.
type Config struct {
	// URL is the database, such as postgres://user@host1:5432,host2:5432/db?sslmode=verify-full, with one host or with
	// all servers of which one is the primary. The user, the database and sslmode are required; a password is refused.
	// Other parameters are sslrootcert, sslcert, sslkey, sslsni, sslnegotiation, channel_binding, require_auth, application_name
	// and target_session_attrs=read-write, which is what the store demands anyway.
	//
	// The environment variables and files of libpq (PGHOST, PGPASSWORD, ~/.pgpass, ~/.postgresql and so on) have no effect.
	URL string
	// Password authenticates the user. If empty, the server has to accept the user without one, for example by a
	// certificate.
	Password string
	// Schema holds the tables: a lower-case identifier. Stores with different schemas share nothing. If empty, it is
	// [DefaultSchema].
	Schema string
	// LocalDurability accepts a server whose synchronous_standby_names is empty: a commit is then on the disk of one
	// server, and lost with it.
	LocalDurability bool
	// MaxConnections is the most connections to the server. A commit that is no longer waited for, of which there are a few at
	// most, and the notifications have connections of their own. If zero, it is [DefaultMaxConnections].
	MaxConnections int
	// TryFor is how long an answer is waited for before the operation fails or is settled. If zero, it is [DefaultTryFor].
	TryFor time.Duration
	// PollOnly has [Store.Follow] send a hint each 200 ms instead of listening for notifications, for a pooler that does not
	// deliver them.
	PollOnly bool
	// Now is the clock by which records expire. If nil, [time.Now] is used.
	Now func() time.Time
	// Logger receives changes of state and failures. If nil, [slog.Default] is used.
	Logger *slog.Logger
	// unprepared sends every statement as a whole, for tests.
	unprepared bool
}

func (c *Config) validate() error {
	if c.Schema == "" {
		c.Schema = DefaultSchema
	}
	if !schemas.MatchString(c.Schema) {
		return fmt.Errorf("pgstore: the schema %q is not 1 to 63 lower-case letters, digits and underscores that begin with no digit", c.Schema)
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.MaxConnections < 2 || c.MaxConnections > 10_000 {
		return fmt.Errorf("pgstore: max_connections is %d, which is not between 2 and 10000", c.MaxConnections)
	}
	if c.TryFor <= 0 {
		c.TryFor = DefaultTryFor
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Check returns what [Open] would refuse before it connects. It reads the files that the URL names.
func (c Config) Check() error {
	if err := c.validate(); err != nil {
		return err
	}
	_, _, err := c.parse()
	return err
}

// parameters of the URL, and the values of those that it does not have. They keep the environment and the files of libpq
// from having an effect.
var parameters = map[string]string{
	"sslmode": "", "sslrootcert": "", "sslcert": "", "sslkey": "", "sslcertmode": "allow", "sslsni": "1", "sslnegotiation": "postgres",
	"channel_binding": "prefer", "require_auth": "", "application_name": "tokenbroker", "target_session_attrs": "read-write",
}

// parse returns the configuration of the connections, and the servers of the URL. Errors do not contain the URL.
func (c *Config) parse() (*pgxpool.Config, []string, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, nil, errors.New("pgstore: the URL is not one such as postgres://user@host:5432/db?sslmode=verify-full")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, errors.New("pgstore: the URL has an invalid query")
	}
	if _, has := u.User.Password(); has || query.Has("password") {
		return nil, nil, errors.New("pgstore: the URL has a password: configure it separately, as a secret")
	}
	if u.User.Username() == "" || u.Host == "" || len(u.Path) < 2 {
		return nil, nil, errors.New("pgstore: the URL needs a user, a host and a database")
	}
	for name, values := range query {
		if _, known := parameters[name]; !known || len(values) != 1 {
			return nil, nil, fmt.Errorf("pgstore: the URL has the parameter %.40q, which is unknown or repeated", name)
		}
	}
	switch mode := query.Get("sslmode"); mode {
	case "disable", "require", "verify-ca", "verify-full":
	default:
		return nil, nil, fmt.Errorf("pgstore: sslmode is %.40q in the URL: write verify-full, or verify-ca, require or disable", mode)
	}
	if target := query.Get("target_session_attrs"); target != "" && target != "read-write" {
		return nil, nil, fmt.Errorf("pgstore: target_session_attrs is %.40q in the URL: only read-write is possible", target)
	}
	for _, name := range []string{"PGSERVICE", "PGSSLPASSWORD"} {
		if os.Getenv(name) != "" {
			return nil, nil, fmt.Errorf("pgstore: the environment has %s, which would change the connections: unset it", name)
		}
	}
	for name, value := range parameters {
		if !query.Has(name) {
			query.Set(name, value)
		}
	}
	query.Set("passfile", "")
	query.Set("connect_timeout", "0")
	u.RawQuery = query.Encode()
	config, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		if err = errors.Unwrap(err); err == nil { // the error itself contains the URL
			err = errors.New("it cannot be parsed")
		}
		return nil, nil, fmt.Errorf("pgstore: the URL: %w", err)
	}
	conn := config.ConnConfig
	conn.Password = c.Password
	conn.RuntimeParams = map[string]string{"application_name": query.Get("application_name")}
	conn.MaxProtocolMessageBodyLen = maxMessage
	conn.ConnectTimeout = c.TryFor / 2
	config.MaxConns, config.MinConns, config.MinIdleConns = int32(c.MaxConnections), 0, 0
	hosts := []string{address(conn.Host, conn.Port)}
	for _, f := range conn.Fallbacks {
		hosts = append(hosts, address(f.Host, f.Port))
	}
	return config, hosts, nil
}

// use makes c connect only to server i of the URL. The configuration of TLS belongs to c.
func use(c *pgconn.Config, i int) {
	if i > 0 {
		f := c.Fallbacks[i-1]
		c.Host, c.Port, c.TLSConfig = f.Host, f.Port, f.TLSConfig
	}
	c.Fallbacks = nil
}

func address(host string, port uint16) string { return fmt.Sprintf("%s:%d", host, port) }
