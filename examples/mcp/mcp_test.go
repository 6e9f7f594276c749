package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"go.uber.org/goleak"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The versions of the protocol with sessions, whose open stream is a GET, and without, whose open stream is a POST of
// subscriptions/listen.
var versions = map[string]string{"with a session": "2025-11-25", "without a session": stateless}

// service is the MCP server of this example with an issuer in this process.
type service struct {
	issuer  *validatortest.Issuer
	url     string
	waiting chan struct{}   // receives when the tool wait runs
	causes  chan error      // receives why the context of the tool wait has ended
	hold    context.Context // ends the tool wait when the test ends
}

func start(t *testing.T) *service {
	t.Helper()
	s := &service{issuer: validatortest.New(t), waiting: make(chan struct{}, 1), causes: make(chan error, 1), hold: t.Context()}
	v, err := validator.New(t.Context(), s.issuer.Config("demo-mcp"))
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(v)
	mcp.AddTool(server, &mcp.Tool{Name: "wait"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		s.waiting <- struct{}{}
		select {
		case <-ctx.Done():
		case <-s.hold.Done():
		}
		s.causes <- context.Cause(ctx)
		return nil, nil, context.Cause(ctx)
	})
	s.serve(t, v, server, s.issuer.URL())
	return s
}

// serve serves the MCP server until the test ends, and closes v then.
func (s *service) serve(t *testing.T, v *validator.Validator, server *mcp.Server, issuer string) {
	t.Helper()
	listening := httptest.NewUnstartedServer(nil)
	s.url = "http://" + listening.Listener.Addr().String() + "/mcp"
	listening.Config.Handler = handler(v, server, httpauth.Resource{
		URI: s.url, AuthorizationServers: []string{issuer}, Scopes: []string{"hello:read"}, Name: "Greetings",
	})
	listening.Start()
	t.Cleanup(func() {
		v.Close() // ends the streams
		listening.Close()
	})
}

func (s *service) mint(sub, sid string) string {
	return s.issuer.Mint(validatortest.Claims{"sub": sub, "sid": sid, "client_id": "an-app", "scope": "hello:read"})
}

// transport sends a token with each request and reports the end of open streams.
type transport struct {
	token string
	base  *http.Transport
	ended chan time.Time // has space for one: the first stream's
}

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+tr.token)
	answer, err := tr.base.RoundTrip(r)
	if err == nil && answer.StatusCode == http.StatusOK && (r.Method == http.MethodGet || r.Header.Get("Mcp-Method") == "subscriptions/listen") {
		answer.Body = &stream{ReadCloser: answer.Body, ended: tr.ended}
	}
	return answer, err
}

// stream reports when reading ends.
type stream struct {
	io.ReadCloser
	ended chan time.Time
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil {
		select {
		case s.ended <- time.Now():
		default:
		}
	}
	return n, err
}

// connect opens an MCP session with the SDK's client. over receives the error by which the session ended.
func (s *service) connect(t *testing.T, version, token string) (session *mcp.ClientSession, streamEnded <-chan time.Time, over <-chan error) {
	t.Helper()
	tr := &transport{token: token, base: &http.Transport{}, ended: make(chan time.Time, 1)}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) {}, // so that it listens, also without a session
	})
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: s.url, HTTPClient: &http.Client{Transport: tr}},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	if got := session.InitializeResult().ProtocolVersion; got != version {
		t.Fatalf("the session has version %s, want %s", got, version)
	}
	ended := make(chan error, 1)
	waited := make(chan struct{})
	go func() { defer close(waited); ended <- session.Wait() }()
	t.Cleanup(func() { _ = session.Close(); <-waited; tr.base.CloseIdleConnections() })
	return session, tr.ended, ended
}

// receive waits for a channel, not longer than a busy machine may take.
func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatal("nothing within a minute")
	}
	return v
}

func TestTools(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			session, _, _ := s.connect(t, version, s.mint("ada", "s1"))
			identity, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"})
			if err != nil || identity.IsError {
				t.Fatalf("whoami: %+v, %v", identity, err)
			}
			text, _ := json.Marshal(identity.StructuredContent)
			var who Identity
			if err := json.Unmarshal(text, &who); err != nil || who.Subject != "ada" || who.ClientID != "an-app" || who.Scope != "hello:read" || who.ExpiresAt.IsZero() {
				t.Errorf("whoami: %s, %v", text, err)
			}
			greeting, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "greet", Arguments: map[string]any{"name": "Bob"}})
			if err != nil || greeting.IsError || greeting.Content[0].(*mcp.TextContent).Text != "Hello Bob, says ada." {
				t.Errorf("greet: %+v, %v", greeting, err)
			}
		})
	}
}

// A log-off ends the session's open stream at once. The client cannot open it again, and its later calls get 401.
func TestARevocationEndsAnOpenSession(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			token := s.mint("ada", "s1")
			session, streamEnded, over := s.connect(t, version, token)
			other, otherEnded, _ := s.connect(t, version, s.mint("ada", "s2"))

			revoked := time.Now()
			s.issuer.RevokeSession("s1")
			t.Logf("the client saw the end of the open stream %s after the revocation", receive(t, streamEnded).Sub(revoked).Round(10*time.Microsecond))
			refused, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"})
			if err == nil {
				t.Errorf("a call after the revocation: %+v", refused)
			}
			if err := receive(t, over); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
				t.Errorf("the session ended by %v", err)
			}
			if version != stateless {
				if status, _ := s.post(t, s.mint("ada", "s3"), session.ID()); status != http.StatusNotFound {
					t.Errorf("a request in the session after another sign-in: %d", status)
				}
			}
			if status, challenge := s.post(t, token, ""); status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token", error_description="The access token was revoked", resource_metadata="`) {
				t.Errorf("a request after the revocation: %d, %s", status, challenge)
			}

			if _, err := other.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"}); err != nil {
				t.Errorf("the user's other session: %v", err)
			}
			select {
			case <-otherEnded:
				t.Error("the stream of the user's other session ended")
			default:
			}
		})
	}
}

// A tool that runs learns of the log-off, and its call ends.
func TestARevocationEndsARunningTool(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			session, _, _ := s.connect(t, version, s.mint("ada", "s1"))
			answered := make(chan error, 1)
			go func() {
				result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "wait"})
				if err == nil && result.IsError { // the tool's own error came before the request ended
					err = errors.New("the tool failed")
				}
				answered <- err
			}()
			receive(t, s.waiting)
			revoked := time.Now()
			s.issuer.RevokeSession("s1")
			cause := receive(t, s.causes)
			t.Logf("the context of the tool ended %s after the revocation", time.Since(revoked).Round(10*time.Microsecond))
			if version != stateless && !errors.Is(cause, validator.ErrRevoked) || cause == nil {
				t.Errorf("the context of the tool ended by %v", cause)
			}
			if err := receive(t, answered); err == nil {
				t.Error("the call had a result")
			}
		})
	}
}

// A session belongs to the user who opened it, also if another user learns its id.
func TestASessionIsOnlyItsUsers(t *testing.T) {
	s := start(t)
	session, _, _ := s.connect(t, versions["with a session"], s.mint("ada", "s1"))
	if status, _ := s.post(t, s.mint("bob", "s2"), session.ID()); status != http.StatusForbidden {
		t.Errorf("another user's request: %d", status)
	}
	if status, _ := s.post(t, s.mint("ada", "s3"), session.ID()); status != http.StatusOK {
		t.Errorf("the user's request with another token: %d", status)
	}
}

// A client that knows only the URL finds the issuer, by the functions of the SDK.
func TestAClientFindsTheIssuer(t *testing.T) {
	s := start(t)
	status, challenge := s.post(t, "", "")
	if status != http.StatusUnauthorized {
		t.Fatalf("without a token: %d", status)
	}
	challenges, err := oauthex.ParseWWWAuthenticate([]string{challenge})
	if err != nil || len(challenges) != 1 || challenges[0].Params["scope"] != "hello:read" || challenges[0].Params["error"] != "" {
		t.Fatalf("%s: %v, %v", challenge, challenges, err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	metadata, err := oauthex.GetProtectedResourceMetadata(t.Context(), challenges[0].Params["resource_metadata"], s.url, client)
	if err != nil {
		t.Fatal(err)
	}
	if metadata.AuthorizationServers[0] != s.issuer.URL() || metadata.ScopesSupported[0] != "hello:read" {
		t.Errorf("the metadata is %+v", metadata)
	}
	if status, challenge := s.post(t, s.issuer.Mint(validatortest.Claims{"scope": "profile"}), ""); status != http.StatusForbidden || !strings.Contains(challenge, `scope="hello:read", resource_metadata="`) {
		t.Errorf("a token without the scope: %d, %s", status, challenge)
	}
}

// post sends tools/list in a session.
func (s *service) post(t *testing.T, token, session string) (status int, challenge string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url, strings.NewReader(`{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if session != "" {
		r.Header.Set("Mcp-Session-Id", session)
		r.Header.Set("MCP-Protocol-Version", versions["with a session"])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode, answer.Header.Get("WWW-Authenticate")
}
