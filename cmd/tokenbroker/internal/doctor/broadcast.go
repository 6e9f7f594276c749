package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"tokenbroker/revocation"
)

const (
	natsTimeout = 3 * time.Second
	// probeSubject is a subject that the broker publishes on. Services drop the probe, because it is not signed.
	probeSubject = "tokenbroker.revocation.doctor"
)

// broadcast checks what the broker does at NATS, with the broker's own credentials.
func broadcast(ctx context.Context, s Subject) []Finding {
	const name = "nats"
	if s.NATS.URL == "" {
		if s.Status == nil {
			return []Finding{{name, Skip, "the server is embedded and the broker does not run", "start the broker"}}
		}
		return []Finding{{Check: name, Level: OK, Detail: "embedded, at " + s.Status.NATS.URL}}
	}
	if !s.NATSKnown {
		return []Finding{{name, Skip, "an external server, and its credentials are not known here", "name the configuration with --config"}}
	}
	found := rights(ctx, s)
	if s.NATS.User != "" || s.NATS.Credentials != "" {
		found = append(found, anonymous(s))
	}
	return found
}

func connect(s Subject, refused func(error), opts ...nats.Option) (*nats.Conn, error) {
	opts = append(opts, nats.Name("tokenbroker doctor"), nats.Timeout(natsTimeout), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused(err) }))
	if s.NATS.TLS != nil {
		opts = append(opts, func(o *nats.Options) error {
			o.TLSConfig = s.NATS.TLS.Clone()
			o.TLSConfig.MinVersion = tls.VersionTLS12
			o.Secure = true
			return nil
		})
	}
	return nats.Connect(s.NATS.URL, opts...)
}

// rights checks whether the broker may publish and subscribe. The server sends a refusal later, but before its answer to
// the flush.
func rights(ctx context.Context, s Subject) []Finding {
	const name = "nats: publish"
	var opts []nats.Option
	if s.NATS.User != "" {
		opts = append(opts, nats.UserInfo(s.NATS.User, s.NATS.Password))
	}
	if s.NATS.Credentials != "" {
		opts = append(opts, nats.UserCredentials(s.NATS.Credentials))
	}
	refusals := make(chan error, 8)
	conn, err := connect(s, func(err error) {
		select {
		case refusals <- err:
		default:
		}
	}, opts...)
	if err != nil {
		hint := "check nats.url and that the server runs; log-offs go on and reach services by catch-up"
		if errors.Is(err, nats.ErrAuthorization) {
			hint = "check nats.user and nats.password, or nats.credentials_file, against the server's accounts"
		}
		return []Finding{{name, Fail, err.Error(), hint}}
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, natsTimeout)
	defer cancel()
	settled := func(err error) error {
		if err := errors.Join(err, conn.FlushWithContext(ctx)); err != nil {
			return err
		}
		select {
		case err := <-refusals:
			return err
		default:
			return conn.LastError()
		}
	}
	start := time.Now()
	if err := settled(conn.Publish(probeSubject, nil)); err != nil {
		return []Finding{{name, Fail, strings.TrimPrefix(err.Error(), "nats: "), "allow the broker's account to publish on tokenbroker.revocation.> and tokenbroker.heartbeat.>"}}
	}
	took := time.Since(start)
	found := []Finding{{Check: name, Level: OK, Detail: fmt.Sprintf("%s, %s there and back", conn.ConnectedUrlRedacted(), took.Round(time.Microsecond))}}
	for _, subject := range []string{revocation.ReceiptSubject + "*", revocation.HeartbeatSubject + "*"} {
		_, err := conn.SubscribeSync(subject)
		if err := settled(err); err != nil {
			found = append(found, Finding{"nats: subscribe", Warn, strings.TrimPrefix(err.Error(), "nats: "),
				"allow the broker's account to subscribe to " + subject + ": by receipts it counts who has applied a revocation, by heartbeats it notices another broker on a copy of its store"})
			break
		}
	}
	return found
}

// anonymous checks whether a server with accounts accepts clients without one.
func anonymous(s Subject) Finding {
	const name = "nats: without credentials"
	conn, err := connect(s, func(error) {})
	if err == nil {
		conn.Close()
		return Finding{name, Warn, "the server lets anybody in", "remove no_auth_user: whoever connects can listen, and can flood services"}
	}
	return Finding{Check: name, Level: OK, Detail: "refused"}
}
