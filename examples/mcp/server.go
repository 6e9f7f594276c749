package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

// sessionTimeout is how long a session may be idle.
const sessionTimeout = time.Hour

// stateless is the first version of the protocol that has no sessions.
const stateless = "2026-07-28"

// handler serves an MCP server at the path of the resource, to callers with a token that has the resource's scopes. When the token is
// revoked, the streams and the session that it opened end.
func handler(v *validator.Validator, server *mcp.Server, resource httpauth.Resource, options ...httpauth.Option) http.Handler {
	get := func(*http.Request) *mcp.Server { return server }
	withSessions := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{SessionTimeout: sessionTimeout})
	without := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})
	versions := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Access-Control-Expose-Headers", "Mcp-Session-Id")
		if r.Header.Get("MCP-Protocol-Version") >= stateless {
			without.ServeHTTP(w, r)
			return
		}
		endWithToken(server, r)
		withSessions.ServeHTTP(w, r)
	})

	options = append(options, httpauth.Scope(resource.Scopes...), httpauth.ProtectedResource(resource))
	protected := httpauth.Require(v, options...)(httpauth.Stream(v)(tokenInfo(versions)))
	mux := http.NewServeMux()
	mux.Handle(resource.MetadataPath(), resource.Handler())
	mux.Handle(path(resource), protected)
	return mux
}

// endWithToken ends the session of a request if the request's token is revoked before the request has ended. It does not end it when
// the token expires, because the client goes on with the next token.
func endWithToken(server *mcp.Server, r *http.Request) {
	id := r.Header.Get("Mcp-Session-Id")
	context.AfterFunc(r.Context(), func() { // not in the request itself, which would wait for the session's other requests
		if id == "" || httpauth.Ended(r.Context()) != "token_revoked" {
			return
		}
		for session := range server.Sessions() {
			if session.ID() == id {
				_ = session.Close() // its client has to sign in again anyway
			}
		}
	})
}

// path returns the path of a valid resource.
func path(resource httpauth.Resource) string {
	u, err := url.Parse(resource.URI)
	if err != nil || u.Path == "" {
		return "/"
	}
	return u.EscapedPath()
}

// tokenInfo passes the claims that httpauth.Require has found on to the SDK: to the tools, and to its check that a session is used
// only by the user who opened it.
func tokenInfo(next http.Handler) http.Handler {
	known := func(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
		claims, ok := validator.FromContext(ctx)
		if !ok {
			return nil, errors.New("no claims: tokenInfo has to be inside httpauth.Require")
		}
		return &auth.TokenInfo{
			Scopes: strings.Fields(claims.Scope), Expiration: claims.ExpiresAt, UserID: claims.Subject,
			Extra: map[string]any{"claims": claims},
		}, nil
	}
	// Require has judged the expiry, by the broker's clock.
	return auth.RequireBearerToken(known, &auth.RequireBearerTokenOptions{ClockSkew: time.Hour})(next)
}

// claimsOf returns the claims of the token with which a request came. The context of a session is no source for them: it is that of
// the session's first request.
func claimsOf(req mcp.Request) (*validator.Claims, bool) {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo == nil {
		return nil, false
	}
	claims, ok := extra.TokenInfo.Extra["claims"].(*validator.Claims)
	return claims, ok
}

// newServer returns an MCP server with two tools.
func newServer(b httpauth.Binder) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "tokenbroker-example", Version: "1.0.0"}, nil)
	server.AddReceivingMiddleware(bound(b))
	mcp.AddTool(server, &mcp.Tool{Name: "whoami", Description: "Says who you are, according to your access token."}, whoami)
	mcp.AddTool(server, &mcp.Tool{Name: "greet", Description: "Greets somebody in your name."}, greet)
	return server
}

// bound ends the context of a tool when the token of its call is revoked or expires: the SDK does not end it with the HTTP request in
// versions of the protocol that have sessions.
func bound(b httpauth.Binder) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			if claims, ok := claimsOf(req); ok {
				var cancel context.CancelFunc
				ctx, cancel = b.Bind(ctx, claims)
				defer cancel()
			}
			return next(ctx, method, req)
		}
	}
}

// Identity is the result of whoami.
type Identity struct {
	Subject   string    `json:"subject" jsonschema:"the user's id, or the client's"`
	ClientID  string    `json:"client_id" jsonschema:"the program that calls in the user's name"`
	Scope     string    `json:"scope"`
	ExpiresAt time.Time `json:"expires_at"`
}

var errNoClaims = errors.New("the call has no access token")

func whoami(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, Identity, error) {
	claims, ok := claimsOf(req)
	if !ok {
		return nil, Identity{}, errNoClaims
	}
	return nil, Identity{Subject: claims.Subject, ClientID: claims.ClientID, Scope: claims.Scope, ExpiresAt: claims.ExpiresAt.UTC()}, nil
}

// Somebody is the argument of greet.
type Somebody struct {
	Name string `json:"name" jsonschema:"whom to greet"`
}

func greet(_ context.Context, req *mcp.CallToolRequest, to Somebody) (*mcp.CallToolResult, any, error) {
	claims, ok := claimsOf(req)
	if !ok {
		return nil, nil, errNoClaims
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "Hello " + to.Name + ", says " + claims.Subject + "."}}}, nil, nil
}
