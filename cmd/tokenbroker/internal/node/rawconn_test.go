package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

// newFaultLab starts a broker on free ports with its own NATS server, so that parallel tests share
// nothing. change may be nil.
func newFaultLab(t *testing.T, change func(*node.Config)) *lab {
	t.Helper()
	l := &lab{t: t, dir: filepath.Join(t.TempDir(), "data"), listen: "127.0.0.1:0"}
	cfg := l.config()
	cfg.NATS = node.NATS{Listen: "127.0.0.1:0", InsecureAnonymous: true}
	if change != nil {
		change(&cfg)
	}
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.node, l.listen = n, n.Addr()
	t.Cleanup(l.stopBroker)
	l.addUser("ada")
	return l
}

func (l *lab) addUser(name string) {
	l.t.Helper()
	if _, err := l.node.Operators().AddUser(l.t.Context(), operator.NewUser{Username: name, Password: "lovelace"}, broker.Request{}); err != nil {
		l.t.Fatal(err)
	}
}

// listener is one of the listeners of a node.
type listener struct{ network, addr string }

func (l *lab) listeners() map[string]listener {
	return map[string]listener{
		"public": {"tcp", l.listen},
		"admin":  {"tcp", strings.TrimPrefix(l.node.AdminURL(), "http://")},
		"socket": {"unix", l.node.AdminSocket()},
	}
}

// rawConn is a client that can send anything, not only valid HTTP. Its methods report errors and do
// not stop the test, so any goroutine may call them.
type rawConn struct {
	net.Conn
	r *bufio.Reader
}

func (at listener) dial(t *testing.T) *rawConn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), at.network, at.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &rawConn{Conn: conn, r: bufio.NewReader(conn)}
}

// send writes all of text, or as much as the server reads.
func (c *rawConn) send(text string) { _, _ = io.WriteString(c.Conn, text) }

// reply returns the next answer within limit, with its body. The status is 0 if the connection was
// closed.
func (c *rawConn) reply(limit time.Duration) (status int, header http.Header, body string, err error) {
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return 0, nil, "", err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil, "", err
		}
		return 0, nil, "", nil
	}
	defer resp.Body.Close()
	if resp.Close {
		resp.Header.Set("Connection", "close") // ReadResponse removed it
	}
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text), err
}

// cut waits until the server has closed the connection and reports whether that was within limit.
func (c *rawConn) cut(limit time.Duration) bool {
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return false
	}
	_, err := io.Copy(io.Discard, c.r)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// answer is the result of a POST for a well-behaved client.
type answer struct {
	status     int
	retryAfter string
	setCookie  string
	Code       string `json:"code"`
	Access     string `json:"access_token"`
	CSRF       string `json:"CSRF_token"`
}

// ask posts JSON to the public listener. If addr is not empty, it is the client's address.
func (l *lab) ask(ctx context.Context, path, cookie, addr, body string) (answer, error) {
	var a answer
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.listen+path, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	if addr != "" {
		req.Header.Set("X-Forwarded-For", addr)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.retryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
	a.setCookie, _, _ = strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	return a, json.NewDecoder(resp.Body).Decode(&a)
}
