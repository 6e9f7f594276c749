// Package apitest serves the public HTTP surface over fakes, for the tests of the packages below api.
package apitest

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Fake is a broker that returns the answers that the test sets and records its calls.
type Fake struct {
	// Err is the error of a use case, and Kept the grant that comes with it.
	Err          error
	Kept         *broker.Grant
	LogOffResult broker.LogOffResult
	Claims       string // of every access token
	VerifyErr    error
	ClientErr    error
	Secret       string // of the client; if empty, demo-service-secret
	Catchup      any    // the answer to a catch-up
	CatchupErr   error
	CatchupWait  time.Duration // what a catch-up takes, in a synctest bubble
	Open         int           // catch-up answers that were not closed
	Checks       []httpapi.Check
	// ClientInfo is that of the authenticated client; if it has no ID, it is demo-service, whose audience is demo-api.
	ClientInfo broker.ClientInfo
	// Answer of the token endpoint, of an introspection of a refresh token, and of userinfo.
	Tokens      *broker.TokenAnswer
	RefreshInfo broker.RefreshTokenInfo
	Inactive    bool
	User        *broker.UserInfo
	Origins     map[string]string // the client of each origin
	Panics      any

	Calls       []string
	Username    string
	Password    string
	Token       string
	Duplicates  []string
	CSRF        string
	Client      string // that a catch-up or a stream is for
	Position    string
	Speaks      int
	ReceiptBody string // with its client
	Req         broker.Request
	// TokenRequest, Credentials and Hint are what the endpoints of OAuth clients received.
	TokenRequest broker.TokenRequest
	Credentials  broker.ClientCredentials
	Hint         string
	Refused      []string // code and reason of the token requests that could not be read
	// Registration is the answer to a registration, and Metadata what was registered.
	Registration broker.ClientRegistration
	Metadata     json.RawMessage
}

// SignIn implements browser.Sessions.
func (f *Fake) SignIn(_ context.Context, username, password string, req broker.Request) (*broker.Grant, error) {
	f.Calls, f.Username, f.Password, f.Req = append(f.Calls, "sign-in"), username, password, req
	if f.Panics != nil {
		panic(f.Panics)
	}
	return f.grant()
}

// Refresh implements browser.Sessions.
func (f *Fake) Refresh(_ context.Context, token, csrf string, req broker.Request) (*broker.Grant, error) {
	f.Calls, f.Token, f.CSRF, f.Req = append(f.Calls, "refresh"), token, csrf, req
	return f.grant()
}

// GrantJSON is the body of the grant that [Fake] returns.
const GrantJSON = `{"access_token":"access.jwt","token_type":"Bearer","expires":1700000300,"expires_in":299,"CSRF_token":"csrf-1","user":{"username":"admin"}}`

func (f *Fake) grant() (*broker.Grant, error) {
	if f.Err != nil {
		return f.Kept, f.Err
	}
	return &broker.Grant{
		AccessToken: "access.jwt", ExpiresAt: time.Unix(1700000300, 0), ExpiresIn: 299*time.Second + 900*time.Millisecond,
		RefreshToken: "rt1.new", RefreshMaxAge: 14 * 24 * time.Hour, CSRFToken: "csrf-1",
		User: map[string]any{"username": "admin"}, UID: "u1", SID: "s1",
	}, nil
}

// LogOff implements browser.Sessions.
func (f *Fake) LogOff(_ context.Context, token, csrf string, req broker.Request, duplicates ...string) (broker.LogOffResult, error) {
	f.Calls, f.Token, f.CSRF, f.Req = append(f.Calls, "logoff"), token, csrf, req
	f.Duplicates = duplicates
	return f.LogOffResult, f.Err
}

// Session implements browser.Sessions.
func (f *Fake) Session(_ context.Context, token string, req broker.Request) (*broker.SessionInfo, error) {
	f.Calls, f.Token, f.Req = append(f.Calls, "session"), token, req
	if f.Err != nil {
		return nil, f.Err
	}
	return &broker.SessionInfo{
		UID: "u1", SID: "s1", CSRFToken: "csrf-1", ExpiresAt: time.Unix(1700001000, 0), CreatedAt: time.Unix(1700000000, 0),
		AuthTime: time.Unix(1700000000, 0), ClientID: "demo-spa", Scope: "hello:read",
	}, nil
}

// Verify implements oauth.Verifier.
func (f *Fake) Verify(_ context.Context, token string) (json.RawMessage, error) {
	f.Calls, f.Token = append(f.Calls, "verify"), token
	return json.RawMessage(f.Claims), f.VerifyErr
}

// AuthenticateClient implements httpapi.Clients.
func (f *Fake) AuthenticateClient(_ context.Context, c broker.ClientCredentials, req broker.Request) (broker.ClientInfo, error) {
	f.Calls, f.Credentials, f.Req = append(f.Calls, "client"), c, req
	switch {
	case f.ClientErr != nil:
		return broker.ClientInfo{}, f.ClientErr
	case c.ID == "public" && strings.Join(c.Secrets, "") == "":
		return broker.ClientInfo{ID: c.ID, Public: true}, nil
	case c.ID != "demo-service" || !slices.Contains(c.Secrets, cmp.Or(f.Secret, "demo-service-secret")):
		return broker.ClientInfo{}, &broker.Error{Code: broker.CodeInvalidClient}
	}
	return broker.ClientInfo{ID: c.ID}, nil
}

// Answer implements feed.Catchup.
func (f *Fake) Answer(ctx context.Context, r feed.Reader, as revocation.Form) (feed.CatchupAnswer, error) {
	f.Calls, f.Client, f.Position, f.Speaks = append(f.Calls, "catch-up"), r.Client, r.After, r.Speaks
	select {
	case <-time.After(f.CatchupWait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.CatchupErr != nil {
		return nil, f.CatchupErr
	}
	body, err := json.Marshal(f.Catchup)
	if as == revocation.FormBinary {
		body = []byte("packed")
	}
	f.Open++
	return &catchupAnswer{f, body}, err
}

type catchupAnswer struct {
	of   *Fake
	body []byte
}

func (a *catchupAnswer) Size() int64 { return int64(len(a.body)) }

func (a *catchupAnswer) Close() error {
	a.of.Open--
	return nil
}

func (a *catchupAnswer) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(a.body)
	return int64(n), err
}

// Receipt implements feed.Receipts.
func (f *Fake) Receipt(client string, raw []byte) error {
	f.Calls, f.ReceiptBody = append(f.Calls, "receipt"), client+" "+string(raw)
	return f.Err
}

// Logins is a broker with sign-in providers whose answers the test sets.
type Logins struct {
	Names    []string
	ReturnTo string
	Err      error
	Fake     *Fake

	Got      broker.LoginCallback
	Provider string
	Tokens   broker.UpstreamTokens
	Req      broker.Request
	Nonces   int
	// Nonce is the suffix whose cookie an exchange asks for, and NonceCookie the cookie's value.
	Nonce, NonceCookie string
}

// Providers implements browser.Logins.
func (f *Logins) Providers() []string { return f.Names }

// StartLogin implements browser.Logins.
func (f *Logins) StartLogin(_ context.Context, provider, redirectURI, returnTo string, req broker.Request) (*broker.LoginStart, error) {
	f.Provider, f.ReturnTo, f.Req = provider, returnTo, req
	return &broker.LoginStart{RedirectURL: "https://idp.test/authorize?redirect_uri=" + url.QueryEscape(redirectURI), CookieSuffix: "abc", CookieValue: "sealed"}, f.Err
}

// CompleteLogin implements browser.Logins.
func (f *Logins) CompleteLogin(_ context.Context, cb broker.LoginCallback, _ broker.Request) (*broker.Grant, string, error) {
	f.Got = cb
	if f.Err != nil {
		return nil, f.ReturnTo, f.Err
	}
	g, err := f.Fake.grant()
	return g, f.ReturnTo, err
}

// NewExchangeNonce implements browser.Logins.
func (f *Logins) NewExchangeNonce() broker.ExchangeNonce {
	f.Nonces++
	return broker.ExchangeNonce{
		Nonce: "n1", ExpiresAt: time.Unix(1_800_000_600, 0), ExpiresIn: 599_900 * time.Millisecond,
		CookieSuffix: "suffix" + strconv.Itoa(f.Nonces), CookieValue: "bound",
	}
}

// ExchangeTokens implements browser.Logins.
func (f *Logins) ExchangeTokens(_ context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request) (*broker.Grant, error) {
	f.Provider, f.Tokens, f.Req = provider, tokens, req
	if f.Nonce != "" {
		cookie, err := tokens.NonceCookie(f.Nonce)
		if f.NonceCookie = cookie; err != nil {
			return nil, err
		}
	}
	if f.Err != nil {
		return nil, f.Err
	}
	return f.Fake.grant()
}
