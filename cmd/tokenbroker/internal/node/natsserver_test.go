package node_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/revocation"
)

// A service at the embedded server hears both subjects and publishes receipts, nothing else.
func TestRightsAtTheEmbeddedNATSServer(t *testing.T) {
	t.Parallel()
	const user, password = "services", "a-password-of-services"
	const publish, subscribe = "publish", "subscribe"
	l := newFaultLab(t, func(cfg *node.Config) {
		cfg.NATS.ServiceUser, cfg.NATS.ServicePassword = user, password
	})
	url := l.node.NATSURL()
	for _, c := range []struct {
		verb, subject string
		allowed       bool
	}{
		{subscribe, revocation.BatchSubject + ">", true},
		{subscribe, revocation.HeartbeatSubject + ">", true},
		{publish, revocation.ReceiptSubject + "orders", true},
		{publish, revocation.ReceiptSubject + "orders.x", false},
		{publish, revocation.BatchSubject + "o1", false},
		{publish, revocation.HeartbeatSubject + "o1", false},
		{publish, "tokenbroker", false},
		{publish, "elsewhere", false},
		{subscribe, revocation.ReceiptSubject + "*", false},
		{subscribe, revocation.ReceiptSubject + "orders", false},
		{subscribe, "tokenbroker.>", false},
		{subscribe, "_INBOX.>", false},
		{subscribe, ">", false},
	} {
		t.Run(c.verb+" "+c.subject, func(t *testing.T) {
			closed := make(chan struct{})
			nc, err := nats.Connect(url, nats.UserInfo(user, password), nats.NoReconnect(),
				nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // LastError tells
				nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { nc.Close(); <-closed }()
			if c.verb == publish {
				if err := nc.Publish(c.subject, []byte("x")); err != nil {
					t.Fatal(err)
				}
			} else if _, err := nc.SubscribeSync(c.subject); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil { // a refusal comes before its answer
				t.Fatal(err)
			}
			if refused := errors.Is(nc.LastError(), nats.ErrPermissionViolation); refused == c.allowed {
				t.Errorf("allowed: %t, want %t (%v)", !refused, c.allowed, nc.LastError())
			}
		})
	}
	t.Run("nobody without the password", func(t *testing.T) {
		if nc, err := nats.Connect(url, nats.UserInfo(user, strings.ToUpper(password))); err == nil {
			nc.Close()
			t.Error("connected")
		}
	})
}
