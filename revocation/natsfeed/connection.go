package natsfeed

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// access has the address of a server and the credentials for it.
type access struct {
	user, password string
	credentials    string
	tls            *tls.Config
}

// options returns the options that Feed and Bus share: reconnect without limit, retry the first
// connect, notice a dead connection within seconds, and buffer nothing while disconnected.
func (a access) options(name string) []nats.Option {
	opts := []nats.Option{
		nats.Name(name),
		nats.Timeout(2 * time.Second),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // a lost publish must not look sent
	}
	if a.user != "" {
		opts = append(opts, nats.UserInfo(a.user, a.password))
	}
	if a.credentials != "" {
		opts = append(opts, nats.UserCredentials(a.credentials))
	}
	if a.tls != nil {
		opts = append(opts, nats.Secure(a.tls))
	}
	return opts
}

// CheckCredentials returns an error if path is not a credentials file for [BusConfig] or [Feed].
func CheckCredentials(path string) error {
	opts := nats.GetDefaultOptions()
	if err := nats.UserCredentials(path)(&opts); err != nil {
		return err
	}
	if _, err := opts.UserJWT(); err != nil {
		return fmt.Errorf("reading the user's JWT: %w", err)
	}
	if _, err := opts.SignatureCB([]byte("nonce")); err != nil {
		return fmt.Errorf("reading the user's seed: %w", err)
	}
	return nil
}

// ErrNotConnected is returned if the server is not connected. Nothing was sent.
var ErrNotConnected = errors.New("not connected to NATS")

// outage records why the server is not connected. It keeps the most specific reason, so that several
// servers, each with its own reason, do not change it with every attempt.
type outage struct {
	url  string // without passwords
	user bool   // a user or credentials are configured

	mu     sync.Mutex
	reason error // nil while connected or before the first failure; guarded by mu
	weight int   // of the reason
}

func newOutage(list string, a access) *outage {
	return &outage{url: withoutPasswords(list), user: a.user != "" || a.credentials != ""}
}

// failed records why an attempt to connect failed or a connection broke, and reports whether the
// reason has changed.
func (a *outage) failed(err error) bool {
	if err == nil || errors.Is(err, nats.ErrNoServers) { // closed by us; the next attempt has the reason
		return false
	}
	weight := 1
	if refusedLogin(err) {
		weight = 2
		hint := "check the NATS user and password"
		if !a.user {
			hint = "the server asks for a user and password, and none is configured"
		}
		err = fmt.Errorf("%w: %s", err, hint)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if weight <= a.weight {
		return false
	}
	a.weight, a.reason = weight, fmt.Errorf("%w at %s: %w", ErrNotConnected, a.url, err)
	return true
}

// back records that there is a connection, and reports whether there was none before.
func (a *outage) back() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.reason != nil
	a.reason, a.weight = nil, 0
	return was
}

// err returns why the server is not connected, or nil if nothing has failed.
func (a *outage) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reason
}

// cause is like err, for a caller that found no connection: it never returns nil.
func (a *outage) cause() error {
	if err := a.err(); err != nil {
		return err
	}
	return fmt.Errorf("%w at %s yet", ErrNotConnected, a.url)
}

func refusedLogin(err error) bool {
	for _, one := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// connect is nats.Connect with an error that does not show the URLs, which may hold a password.
func connect(list string, opts []nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(list, opts...)
	var unreadable *url.Error
	if errors.As(err, &unreadable) && unreadable.Op == "parse" {
		return nil, errors.New("the server's URL cannot be read: in a user or a password %, / and # are written as %25, %2F and %23")
	}
	return nc, err
}

// withoutPasswords removes users and passwords from a list of URLs.
func withoutPasswords(list string) string {
	urls := strings.Split(list, ",")
	for i, text := range urls {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") { // as nats.go reads it; otherwise the user would be a scheme, or a path
			text = "nats://" + text
		}
		u, err := url.Parse(text)
		if err != nil {
			urls[i] = "(not a URL)"
			continue
		}
		u.User = nil
		urls[i] = u.String()
	}
	return strings.Join(urls, ",")
}
