package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

// Files that other users own, can read or have replaced by a link are used neither as the data
// directory nor as the operators' token.
func TestStartRefusesFilesThatOthersCanChange(t *testing.T) {
	const known = "a-token-that-somebody-else-has-put-there"
	for want, spoil := range map[string]func(dir string) error{
		"the data directory": func(dir string) error { return os.Chmod(dir, 0o755) },
		"open to others": func(dir string) error {
			path := filepath.Join(dir, node.AdminTokenFile)
			if err := os.WriteFile(path, []byte(known), 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o644)
		},
		"is a link": func(dir string) error {
			elsewhere := dir + "-token"
			if err := os.WriteFile(elsewhere, []byte(known), 0o600); err != nil {
				return err
			}
			return os.Symlink(elsewhere, filepath.Join(dir, node.AdminTokenFile))
		},
	} {
		t.Run(want, func(t *testing.T) {
			l := &lab{t: t, dir: filepath.Join(t.TempDir(), "data"), listen: "127.0.0.1:0"}
			if err := os.Mkdir(l.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := spoil(l.dir); err != nil {
				t.Fatal(err)
			}
			cfg := l.config()
			cfg.NATS = node.NATS{Listen: "127.0.0.1:0", InsecureAnonymous: true}
			n, err := node.Start(t.Context(), cfg)
			if err == nil {
				_ = n.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		})
	}
}

// No user that can be configured is the broker's own user at the embedded server.
func TestAServiceUserOfAnyNameIsNotTheBroker(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, func(cfg *node.Config) {
		cfg.NATS.ServiceUser, cfg.NATS.ServicePassword = "tokenbroker", "a-password-of-services"
	})
	eventually(t, "the broker is connected to its NATS server", func() bool { return l.ready("ready") })
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Failed handshakes, such as those of a scanner, are logged only at level Debug.
func TestFailedHandshakesAreLoggedAtDebug(t *testing.T) {
	t.Parallel()
	logs := &logBuffer{}
	l := &lab{t: t, dir: filepath.Join(t.TempDir(), "data"), listen: "127.0.0.1:0"}
	cfg := l.config()
	cfg.NATS, cfg.Logger = node.NATS{Listen: "127.0.0.1:0", InsecureAnonymous: true}, slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, errors.New("no certificate in this test")
	}
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	conn, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the handshake's line", func() bool { return strings.Contains(logs.String(), "TLS handshake error") })
	for line := range strings.Lines(logs.String()) {
		if strings.Contains(line, "TLS handshake error") && !strings.Contains(line, "level=DEBUG") {
			t.Errorf("logged: %s", line)
		}
	}
}

// slowProvider checks a token until its context ends.
type slowProvider struct {
	believingProvider
	asked chan struct{}
}

func (p slowProvider) VerifyTokens(ctx context.Context, _ broker.UpstreamTokens) (broker.Identity, error) {
	close(p.asked)
	<-ctx.Done()
	return broker.Identity{}, ctx.Err()
}

// A stop that closes connections whose accepted requests were not answered logs their number.
func TestStopLogsTheConnectionsThatItCloses(t *testing.T) {
	t.Parallel()
	logs, asked := &logBuffer{}, make(chan struct{})
	l := newFaultLab(t, func(cfg *node.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(logs, nil))
		cfg.Providers = func(string, node.Transport) (map[string]node.Provider, error) {
			return map[string]node.Provider{"slow": slowProvider{asked: asked}}, nil
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if a, err := l.ask(context.Background(), "/auth/social-exchange/", "", "", `{"id_token": "x"}`); err == nil && a.status == http.StatusOK {
			t.Errorf("%+v", a)
		}
	}()
	<-asked
	l.stopBroker()
	<-done
	if !strings.Contains(logs.String(), "cuts off") || !strings.Contains(logs.String(), "connections=1") {
		t.Errorf("log: %s", logs.String())
	}
}
