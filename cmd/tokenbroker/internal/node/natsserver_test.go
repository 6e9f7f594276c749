package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/revocation"
)

// A service at the embedded server may subscribe to both subjects and publish receipts, and has no
// other rights.
func TestRightsAtTheEmbeddedNATSServer(t *testing.T) {
	t.Parallel()
	const user, password, billing = "services", "a-password-of-services", "a-password-of-billing"
	const publish, subscribe = "publish", "subscribe"
	l := newFaultLab(t, func(cfg *node.Config) {
		cfg.NATS = node.NATS{Listen: cfg.NATS.Listen, ServiceUser: user, ServicePassword: password, Services: map[string]string{"billing": billing}}
	})
	url := l.node.NATSURL()
	for _, c := range []struct {
		verb, subject string
		allowed       bool
		user          string // if empty, the shared user
	}{
		{subscribe, revocation.BatchSubject + ">", true, ""},
		{subscribe, revocation.HeartbeatSubject + ">", true, ""},
		{publish, revocation.ReceiptSubject + "orders", true, ""},
		{publish, revocation.ReceiptSubject + "orders.x", false, ""},
		{publish, revocation.BatchSubject + "o1", false, ""},
		{publish, revocation.HeartbeatSubject + "o1", false, ""},
		{publish, "tokenbroker", false, ""},
		{publish, "elsewhere", false, ""},
		{subscribe, revocation.ReceiptSubject + "*", false, ""},
		{subscribe, revocation.ReceiptSubject + "orders", false, ""},
		{subscribe, "tokenbroker.>", false, ""},
		{subscribe, "_INBOX.>", false, ""},
		{subscribe, ">", false, ""},
		{publish, revocation.ReceiptSubject + "billing", false, ""},
		{publish, revocation.ReceiptSubject + "billing", true, "billing"},
		{publish, revocation.ReceiptSubject + "orders", false, "billing"},
		{subscribe, revocation.BatchSubject + ">", true, "billing"},
		{subscribe, revocation.HeartbeatSubject + ">", true, "billing"},
		{subscribe, ">", false, "billing"},
	} {
		t.Run(c.user+" "+c.verb+" "+c.subject, func(t *testing.T) {
			as := nats.UserInfo(user, password)
			if c.user != "" {
				as = nats.UserInfo(c.user, billing)
			}
			closed := make(chan struct{})
			nc, err := nats.Connect(url, as, nats.NoReconnect(),
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
	t.Run("no access without the password", func(t *testing.T) {
		if nc, err := nats.Connect(url, nats.UserInfo(user, strings.ToUpper(password))); err == nil {
			nc.Close()
			t.Error("connected")
		}
	})
}

// Without configured users the server creates one, whose password is stored in a file and stays the
// same.
func TestTheEmbeddedNATSServerIsNotAnonymous(t *testing.T) {
	t.Parallel()
	var passwords []string
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 {
		l := &lab{t: t, dir: dir, listen: "127.0.0.1:0"}
		cfg := l.config()
		cfg.NATS = node.NATS{Listen: "127.0.0.1:0"}
		var err error
		if l.node, err = node.Start(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.stopBroker)
		if nc, err := nats.Connect(l.node.NATSURL()); err == nil {
			nc.Close()
			t.Error("a client without a password connected")
		}
		file := filepath.Join(dir, node.NATSPasswordFile)
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", file, info, err)
		}
		password, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		passwords = append(passwords, strings.TrimSpace(string(password)))
		nc, err := nats.Connect(l.node.NATSURL(), nats.UserInfo("services", passwords[0]))
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		l.stopBroker()
	}
	if passwords[0] != passwords[1] || len(passwords[0]) < 32 {
		t.Errorf("passwords of %d and %d characters, the same: %t", len(passwords[0]), len(passwords[1]), passwords[0] == passwords[1])
	}
}
