package deploy_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tokenbroker/revocation"
)

const receipts = "tokenbroker.receipt."

// natsVariables sets the variables of nats.env of a new installation and returns the
// password of each user.
func natsVariables(t *testing.T) map[string]string {
	t.Helper()
	passwords := make(map[string]string)
	for _, line := range strings.Fields(secretsOf(t, installed(t))["nats.env"]) {
		key, value, _ := strings.Cut(line, "=")
		t.Setenv(key, value)
		user := strings.TrimSuffix(strings.TrimPrefix(key, "NATS_"), "_PASSWORD")
		passwords[strings.ReplaceAll(strings.ToLower(user), "_", "-")] = value
	}
	return passwords
}

// startNATS runs the server of nats.conf on a free port.
func startNATS(t *testing.T) (url string, passwords map[string]string) {
	t.Helper()
	passwords = natsVariables(t)
	opts, err := server.ProcessConfigFile("nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.HTTPPort, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, 0, true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	return s.ClientURL(), passwords
}

func TestNATSSettings(t *testing.T) {
	passwords := natsVariables(t)
	opts, err := server.ProcessConfigFile("nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, u := range opts.Users {
		users = append(users, u.Username)
		if u.Password != passwords[u.Username] || u.Password == "" {
			t.Errorf("%s does not have the password that secrets.sh made", u.Username)
		}
	}
	slices.Sort(users)
	if !cmp.Equal(users, []string{"broker", "service-a", "service-b"}) {
		t.Errorf("users %q", users)
	}
	if opts.NoAuthUser != "" || opts.JetStream || opts.MaxPayload != 1<<20 {
		t.Errorf("no_auth_user %q, JetStream %t, max_payload %d", opts.NoAuthUser, opts.JetStream, opts.MaxPayload)
	}
	if opts.HTTPHost != "127.0.0.1" || opts.HTTPPort != 8222 || opts.Port != 4222 {
		t.Errorf("monitoring on %s:%d, clients on %d", opts.HTTPHost, opts.HTTPPort, opts.Port)
	}
}

func TestNATSNeedsEachPassword(t *testing.T) {
	natsVariables(t)
	for _, name := range []string{"NATS_BROKER_PASSWORD", "NATS_SERVICE_A_PASSWORD", "NATS_SERVICE_B_PASSWORD"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "") // restores it
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
			if _, err := server.ProcessConfigFile("nats.conf"); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("without it: %v", err)
			}
		})
	}
}

func TestNATSRights(t *testing.T) {
	url, passwords := startNATS(t)
	const batch, beat, keys, publish, subscribe = revocation.BatchSubject + "o1", revocation.HeartbeatSubject + "o1", revocation.KeysSubject + "o1", "publish", "subscribe"
	for _, c := range []struct {
		user, verb, subject string
		allowed             bool
	}{
		{"broker", publish, batch, true},
		{"broker", publish, beat, true},
		{"broker", publish, keys, true},
		{"service-a", publish, keys, false},
		{"service-a", subscribe, revocation.KeysSubject + ">", false},
		{"broker", subscribe, receipts + "*", true},
		{"broker", subscribe, revocation.HeartbeatSubject + "*", true},
		{"broker", publish, revocation.PostedSubject + "o1", true},
		{"broker", subscribe, revocation.PostedSubject + "*", true},
		{"service-a", publish, revocation.PostedSubject + "o1", false},
		{"service-a", subscribe, revocation.PostedSubject + "*", false},
		{"broker", publish, receipts + "service-a", false},
		{"broker", publish, "elsewhere", false},
		{"broker", subscribe, revocation.BatchSubject + ">", false},
		{"broker", subscribe, ">", false},
		{"service-a", subscribe, revocation.BatchSubject + ">", true},
		{"service-a", subscribe, revocation.HeartbeatSubject + ">", true},
		{"service-a", publish, receipts + "service-a", true},
		{"service-a", publish, receipts + "service-b", false},
		{"service-a", publish, batch, false},
		{"service-a", publish, beat, false},
		{"service-a", publish, "elsewhere", false},
		{"service-a", subscribe, receipts + "*", false},
		{"service-a", subscribe, "tokenbroker.>", false},
		{"service-a", subscribe, "_INBOX.>", false},
		{"service-a", subscribe, "$SYS.>", false},
		{"service-b", subscribe, revocation.BatchSubject + ">", true},
		{"service-b", subscribe, revocation.HeartbeatSubject + ">", true},
		{"service-b", publish, receipts + "service-b", true},
		{"service-b", publish, receipts + "service-a", false},
		{"service-b", publish, batch, false},
		{"service-b", publish, beat, false},
		{"service-b", subscribe, receipts + "*", false},
	} {
		t.Run(strings.Join([]string{c.user, c.verb, c.subject}, " "), func(t *testing.T) {
			nc := connect(t, url, c.user, passwords[c.user])
			if c.verb == publish {
				if err := nc.Publish(c.subject, []byte("x")); err != nil {
					t.Fatal(err)
				}
			} else if _, err := nc.SubscribeSync(c.subject); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil { // a refusal arrives before the answer to Flush
				t.Fatal(err)
			}
			if refused := errors.Is(nc.LastError(), nats.ErrPermissionViolation); refused == c.allowed {
				t.Errorf("allowed: %t, want %t (%v)", !refused, c.allowed, nc.LastError())
			}
		})
	}
}

func TestNATSCarriesBothWays(t *testing.T) {
	url, passwords := startNATS(t)
	broker := connect(t, url, "broker", passwords["broker"])
	a := connect(t, url, "service-a", passwords["service-a"])
	for _, c := range []struct {
		from, to           *nats.Conn
		subject, subscribe string
	}{
		{broker, a, revocation.BatchSubject + "o1", revocation.BatchSubject + ">"},
		{broker, a, revocation.HeartbeatSubject + "o1", revocation.HeartbeatSubject + ">"},
		{a, broker, receipts + "service-a", receipts + "*"},
	} {
		sub, err := c.to.SubscribeSync(c.subscribe)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.to.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := c.from.Publish(c.subject, []byte("news")); err != nil {
			t.Fatal(err)
		}
		if m, err := sub.NextMsg(time.Minute); err != nil || string(m.Data) != "news" {
			t.Errorf("%s: %v", c.subject, err)
		}
	}
}

func TestNATSRefusesUnknownClients(t *testing.T) {
	url, passwords := startNATS(t)
	for name, c := range map[string]struct{ user, password string }{
		"no account":          {"", ""},
		"no password":         {"broker", ""},
		"the other service's": {"service-a", passwords["service-b"]},
		"unknown":             {"service-c", passwords["service-a"]},
	} {
		nc, err := nats.Connect(url, nats.UserInfo(c.user, c.password))
		if err == nil {
			nc.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

func connect(t *testing.T, url, user, password string) *nats.Conn {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, nats.UserInfo(user, password), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the test reads LastError
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); <-closed })
	return nc
}

// The image must have the version of the server that the tests use.
func TestNATSImageIsTheTestedVersion(t *testing.T) {
	image := compose(t, installed(t)).Services["nats"].Image
	if want := "nats:" + server.VERSION + "-alpine"; image != want {
		t.Errorf("docker-compose.yml runs %s, the tests %s", image, want)
	}
}
