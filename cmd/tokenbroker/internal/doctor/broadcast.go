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
	// probeSubject is within the subjects that the broker publishes on. The message is empty and
	// unsigned, so services drop it.
	probeSubject = "tokenbroker.revocation.doctor"
)

// broadcast connects to NATS, publishes and subscribes as the broker does, with the broker's credentials.
func broadcast(ctx context.Context, s Subject) []Finding {
	const name = "nats"
	if s.NATS.URL == "" {
		if s.Status == nil {
			return []Finding{{name, Skip, "the NATS server is embedded in the broker, which does not run", "start the broker"}}
		}
		return []Finding{{Check: name, Level: OK, Detail: "embedded, at " + s.Status.NATS.URL}}
	}
	if !s.NATSKnown {
		return []Finding{{name, Skip, "the NATS server is external, and its credentials are not known here", "name the configuration with --config"}}
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

// rights checks whether the broker may publish and subscribe. The server reports a refusal asynchronously,
// but before the answer to a flush.
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
		hint := "check nats.url and that the server runs; until then log-offs reach services only by catch-up"
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
	found := []Finding{{Check: name, Level: OK, Detail: fmt.Sprintf("%s, round trip %s", conn.ConnectedUrlRedacted(), took.Round(time.Microsecond))}}
	subjects := []string{revocation.ReceiptSubject + "*", revocation.HeartbeatSubject + "*"}
	if s.shared() {
		subjects = append(subjects, revocation.PostedSubject+"*")
	}
	for _, subject := range subjects {
		_, err := conn.SubscribeSync(subject)
		if err := settled(err); err != nil {
			found = append(found, Finding{"nats: subscribe", Warn, strings.TrimPrefix(err.Error(), "nats: "),
				"allow the broker's account to subscribe to " + subject + ": the broker counts the receipts of services that have applied a revocation, detects another broker on a copy of its store by heartbeats, and with several brokers hears of receipts that services posted to another one"})
			break
		}
	}
	return found
}

// anonymous checks whether a server with accounts accepts connections without credentials.
func anonymous(s Subject) Finding {
	const name = "nats: without credentials"
	conn, err := connect(s, func(error) {})
	if err == nil {
		conn.Close()
		return Finding{name, Warn, "the server accepts connections without credentials", "remove no_auth_user: with it, any client can listen and can flood services"}
	}
	return Finding{Check: name, Level: OK, Detail: "refused"}
}
