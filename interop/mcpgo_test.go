package interop

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
)

// TestMCPClientOfTheGoSDK takes the SDK's client through the whole flow, by a metadata document and by registration.
func TestMCPClientOfTheGoSDK(t *testing.T) {
	s, resource := startMCP(t)
	document, _ := clientDocument(t, s)
	registered := func(method string) func(*auth.AuthorizationCodeHandlerConfig) {
		return func(config *auth.AuthorizationCodeHandlerConfig) {
			config.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName: "An assistant", RedirectURIs: []string{mcpCallback}, TokenEndpointAuthMethod: method,
				GrantTypes: []string{"authorization_code", "refresh_token"},
			}}
		}
	}
	for _, tt := range []struct {
		name      string
		configure func(*auth.AuthorizationCodeHandlerConfig)
	}{
		{"with a document", func(config *auth.AuthorizationCodeHandlerConfig) {
			config.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: document}
		}},
		{"registered, none", registered("none")},
		{"registered, client_secret_basic", registered("")}, // RFC 7591 §2: that is the default
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, granted, asked := newBrowser(t, s, mcpCallback), &grant{}, 0
			refused := make(chan struct{}, 100) // the SDK asks again at each 401, also for its stream
			config := &auth.AuthorizationCodeHandlerConfig{
				RedirectURL: mcpCallback, RequestRefreshToken: true, Client: s.client, NewTokenSource: granted.source,
				AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
					if granted.known() {
						refused <- struct{}{}
						return nil, errors.New("the user is away")
					}
					asked++
					answer := b.authorize(t, args.URL).Query()
					return &auth.AuthorizationResult{Code: answer.Get("code"), State: answer.Get("state"), Iss: answer.Get("iss")}, nil
				},
			}
			tt.configure(config)
			handler, err := auth.NewAuthorizationCodeHandler(config)
			if err != nil {
				t.Fatal(err)
			}
			// Discovery from the 401, the client, the code with PKCE and iss: the SDK checks all of them.
			session, err := mcp.NewClient(&mcp.Implementation{Name: "interop", Version: "1.0.0"}, nil).Connect(t.Context(),
				&mcp.StreamableClientTransport{Endpoint: resource, OAuthHandler: handler, HTTPClient: s.client}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if asked != 1 || b.consents != 1 {
				t.Errorf("%d authorizations with %d consents, want one", asked, b.consents)
			}
			call := func() error {
				result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"})
				if err == nil && (result.IsError || len(result.Content) == 0) {
					t.Errorf("the tool returned %+v", result)
				}
				return err
			}
			if err := call(); err != nil {
				t.Fatal(err)
			}

			first := granted.expire()
			if err := call(); err != nil {
				t.Fatalf("a call that needs a refresh: %v", err)
			}
			second := granted.expire()
			if second.AccessToken == first.AccessToken || second.RefreshToken == first.RefreshToken || first.RefreshToken == "" {
				t.Error("the refresh did not return other tokens")
			}
			if err := call(); err != nil {
				t.Fatalf("a call that needs another refresh: %v", err)
			}

			access := granted.revoke(t, s)
			eventually(t, "the server has received the revocation", func() bool {
				return getStatus(t, s.client, resource, access) == http.StatusUnauthorized
			})
			if err := call(); err == nil {
				t.Error("a call after the revocation succeeds")
			}
			select {
			case <-refused:
			default:
				t.Error("the SDK did not ask for another authorization")
			}
		})
	}
}

// grant keeps the tokens of a client of the SDK. It is safe for concurrent use.
type grant struct {
	mu     sync.Mutex // guards the fields below
	ctx    context.Context
	config *oauth2.Config
	token  *oauth2.Token
}

// source implements the NewTokenSource of the SDK.
func (g *grant) source(ctx context.Context, config *oauth2.Config, token *oauth2.Token) (oauth2.TokenSource, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ctx, g.config, g.token = ctx, config, token
	return g, nil
}

func (g *grant) known() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.token != nil
}

// Token implements [oauth2.TokenSource]. It refreshes a token that has expired.
func (g *grant) Token() (*oauth2.Token, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	token, err := g.config.TokenSource(g.ctx, g.token).Token()
	if err == nil {
		g.token = token
	}
	return token, err
}

// expire makes the token one that has expired, for the client. It returns a copy.
func (g *grant) expire() oauth2.Token {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := *g.token
	g.token.Expiry = time.Now().Add(-time.Minute)
	return kept
}

// revoke revokes the refresh token (RFC 7009), which the SDK does not do. It returns the access token.
func (g *grant) revoke(t *testing.T, s *server) string {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	form := url.Values{"token": {g.token.RefreshToken}}
	if g.config.ClientSecret == "" {
		form.Set("client_id", g.config.ClientID)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.issuer+"/oauth2/revoke", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if g.config.ClientSecret != "" {
		req.SetBasicAuth(url.QueryEscape(g.config.ClientID), url.QueryEscape(g.config.ClientSecret))
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		t.Fatalf("revoking: %d %s", res.StatusCode, body)
	}
	return g.token.AccessToken
}

// getStatus returns the status of a GET with a token.
func getStatus(t *testing.T, client *http.Client, to, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}
