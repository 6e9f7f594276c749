// Package adminclient finds a running server and is a client of its operators' API.
//
// [Locate] turns flags, the environment and the pointer that a running dev leaves into a
// [Client]; it opens no connection. Most methods of the client are one request to /admin/v1, which is sent again for up to
// 10 s while the server cannot answer for now. The error is a [*Problem] if the server refuses the request, and
// wraps [ErrNoServer] if it cannot be reached:
//
//	client, err := adminclient.Locate(adminclient.Options{DataDir: "/var/lib/tokenbroker"})
//	if err != nil { … }
//	defer client.Close()
//	user, err := client.User(ctx, "ada")
//
// [WritePointer] is only for dev, which operators' commands of the same user find without a flag.
package adminclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/httpclient"
)

// The longest time of a request, and the largest answer in bytes.
const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 64 << 20
)

// Client sends requests to one server. It is safe for concurrent use.
type Client struct {
	base  string // scheme and host
	token string
	// target is the address of the server, and from the setting that named it; both are for messages.
	target, from string
	// wait is how long the server waits for the services after each change; 0 for not at all.
	wait time.Duration
	http *http.Client
}

// Waiting returns a client of the same server whose revocations are answered when the services have applied
// them, or after d, which is at most 10 s. With 0 they are answered at once.
func (c *Client) Waiting(d time.Duration) *Client {
	waiting := *c
	waiting.wait = d
	return &waiting
}

// newSocketClient returns a client over a unix socket, where the server checks the uid of the peer and needs no
// token. The socket must belong to this user or root, because passwords are sent there; root accepts the
// socket of any user.
func newSocketClient(path, from string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if err := trustSocket(path, os.Geteuid()); err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}
	return newClient(&Client{base: "http://tokenbroker", target: "unix://" + path, from: from}, transport)
}

// errForeignSocket is the cause of an [ErrNoServer] for a socket of another user.
var errForeignSocket = errors.New("the socket belongs to another user")

// trustSocket refuses a socket of a user other than uid or root. It accepts one that does not exist: the dial
// fails.
func trustSocket(path string, uid int) error {
	info, err := os.Stat(path) // #nosec G703 -- the operator names the socket
	if err != nil || uid == 0 {
		return nil //nolint:nilerr // the dial fails
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 && int(owner.Uid) != uid {
		return fmt.Errorf("%w: be the user that the server runs as, or root", errForeignSocket)
	}
	return nil
}

// newURLClient returns a client over TCP. It verifies an https server's certificate by roots; nil means the
// system's.
func newURLClient(base, token, from string, roots *x509.CertPool) *Client {
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	if strings.HasPrefix(base, "https:") {
		transport.Proxy = http.ProxyFromEnvironment
	}
	return newClient(&Client{base: base, token: token, target: base, from: from}, transport)
}

func newClient(c *Client, transport *http.Transport) *Client {
	c.http = httpclient.New(transport, 0)
	return c
}

// Target returns the server's address, for messages.
func (c *Client) Target() string { return c.target }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ask sends one request and returns the answer. in is the body, encoded as JSON; nil sends none.
func ask[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (T, error) {
	var out T
	err := c.do(ctx, method, path, query, in, &out)
	return out, err
}

// do sends a request, again if necessary, and decodes the answer into out. A status that is not 2xx is a [*Problem].
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if c.wait > 0 && method != http.MethodGet { // ignored where nothing is revoked
		if query == nil {
			query = url.Values{}
		}
		query.Set("wait", c.wait.String())
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var text []byte
	if in != nil {
		var err error
		if text, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
	}
	return patiently(ctx, method, func() error { return c.once(ctx, method, target, text, out) })
}

// once sends a request once. body is JSON; nil sends none.
func (c *Client) once(ctx context.Context, method, target string, body []byte, out any) error {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.failed(ctx, sent.Load() && method != http.MethodGet, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.failed(ctx, sent.Load() && method != http.MethodGet, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.problem(resp, answer)
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("%s: the answer is longer than %d MiB: ask for less at a time", c.target, maxAnswer>>20)
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber() // an attribute's number comes out as it went in
	if err := decoder.Decode(out); err != nil {
		return fmt.Errorf("%s: the answer is not a token broker's: %w", c.target, err)
	}
	return nil
}

// failed explains a request without an answer; perhaps says that the server may have done it.
func (c *Client) failed(ctx context.Context, perhaps bool, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // its text would repeat the URL
	}
	if errors.Is(err, errForeignSocket) {
		return fmt.Errorf("%w: tried %s, named by %s: %w", ErrNoServer, c.target, c.from, err)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && !errors.Is(ctx.Err(), context.Canceled) {
		return noServer("tried "+c.target+", named by "+c.from, op.Err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	if perhaps {
		return fmt.Errorf("%s: the request was sent and it is not known whether it was done: look, and ask again: %w", c.target, err)
	}
	return fmt.Errorf("asking %s: %w", c.target, err)
}

// noServer returns an [ErrNoServer] with what was tried, the cause if there is one, and what to do.
func noServer(tried string, cause error) error {
	var sys *os.SyscallError
	if errors.As(cause, &sys) {
		cause = sys.Err
	}
	hint := `start one with "tokenbroker dev" or "tokenbroker serve", or name it with --data-dir or --admin`
	switch {
	case cause == nil:
		return fmt.Errorf("%w: %s; %s", ErrNoServer, tried, hint)
	case errors.Is(cause, os.ErrPermission):
		return fmt.Errorf("%w: %s: %w: be the user that the server runs as, or root", ErrNoServer, tried, cause)
	}
	return fmt.Errorf("%w: %s: %w; %s", ErrNoServer, tried, cause, hint)
}

// Problem is a refusal of the server (RFC 9457).
type Problem struct {
	Status int
	// Code is stable. It is "" if the answer is not one of this API.
	Code   broker.Code
	Detail string
	// RequestID identifies the request in the server's log.
	RequestID string
	// Checks are set with [httpapi.CodeNotReady].
	Checks []httpapi.Check
	// hint is added to the text by the client.
	hint string
	// retryAfter is when the server may answer, 0 if it did not say.
	retryAfter time.Duration
}

// Error returns one line without control characters.
func (p *Problem) Error() string {
	if p.Code == "" {
		return fmt.Sprintf("the server answered %d %s%s", p.Status, http.StatusText(p.Status), p.hint)
	}
	text := terminal.Plain(string(p.Code))
	if p.Detail != "" {
		text += ": " + terminal.Plain(p.Detail)
	}
	if p.Status >= http.StatusInternalServerError && p.RequestID != "" {
		text += " (request " + terminal.Plain(p.RequestID) + ")"
	}
	return text + p.hint
}

// problem returns the refusal in resp, whose body is body.
func (c *Client) problem(resp *http.Response, body []byte) error {
	p := &Problem{Status: resp.StatusCode}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		p.retryAfter = time.Duration(seconds) * time.Second
	}
	var wire struct {
		Code      broker.Code     `json:"code"`
		Detail    string          `json:"detail"`
		RequestID string          `json:"request_id"`
		Checks    []httpapi.Check `json:"checks"`
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err == nil && mediaType == "application/problem+json" && json.Unmarshal(body, &wire) == nil {
		p.Code, p.Detail, p.RequestID, p.Checks = wire.Code, wire.Detail, wire.RequestID, wire.Checks
	}
	switch {
	case p.Code == "":
		p.hint = ": is " + c.target + " the admin address of a token broker?"
	case p.Code == httpapi.CodeUnauthorized && c.token == "" && !strings.HasPrefix(c.target, "unix:"):
		p.hint = "; name the token's file with --admin-token-file or " + EnvTokenFile
	case p.Code == httpapi.CodeUnauthorized:
		p.hint = "; asked " + c.target
	}
	return p
}
