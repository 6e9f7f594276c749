// Package natsfeed carries revocation messages over core NATS: [Feed] for the services
// that listen, [Bus] for the broker that publishes.
//
// A service needs the right to subscribe to tokenbroker.revocation.> and
// tokenbroker.heartbeat.>, to publish its receipts on tokenbroker.receipt.<its id>, and
// nothing else. The broker publishes on the first two and subscribes to tokenbroker.receipt.*.
package natsfeed

import (
	"crypto/tls"
	"time"

	"github.com/nats-io/nats.go"
)

// access is how to reach a server and who one is there.
type access struct {
	user, password string
	credentials    string
	tls            *tls.Config
}

// options are what both sides share: reconnect for ever, retry the first connect, notice a
// dead link in seconds, keep nothing to be sent later.
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
