package apitest

import (
	"context"

	"tokenbroker/broker"
)

// Clients are the use cases of OAuth clients of a [Fake].
type Clients struct{ *Fake }

// AuthenticateClient implements oauth.Clients.
func (c Clients) AuthenticateClient(ctx context.Context, sent broker.ClientCredentials, req broker.Request) (broker.ClientInfo, error) {
	info, err := c.Fake.AuthenticateClient(ctx, sent, req)
	if c.ClientInfo.ID != "" && c.ClientErr == nil {
		return c.ClientInfo, nil
	}
	info.Audiences = []string{"demo-api"}
	return info, err
}

// Token implements oauth.Clients.
func (c Clients) Token(_ context.Context, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	c.Calls, c.TokenRequest, c.Req = append(c.Calls, "token"), in, req
	return c.Tokens, c.Err
}

// RefuseTokenRequest implements oauth.Clients.
func (c Clients) RefuseTokenRequest(_ context.Context, code broker.Code, reason string, _ broker.Request) {
	c.Refused = append(c.Refused, string(code)+": "+reason)
}

// Revoke implements oauth.Clients.
func (c Clients) Revoke(_ context.Context, sent broker.ClientCredentials, token, hint string, req broker.Request) (string, error) {
	c.Calls, c.Credentials, c.Fake.Token, c.Hint, c.Req = append(c.Calls, "revoke"), sent, token, hint, req
	return sent.ID, c.Err
}

// IntrospectRefreshToken implements oauth.Clients.
func (c Clients) IntrospectRefreshToken(_ context.Context, clientID, token string) (broker.RefreshTokenInfo, bool, error) {
	c.Calls, c.Client, c.Fake.Token = append(c.Calls, "introspect"), clientID, token
	return c.RefreshInfo, !c.Inactive, c.Err
}

// UserInfo implements oauth.Clients.
func (c Clients) UserInfo(_ context.Context, accessToken string, req broker.Request) (*broker.UserInfo, error) {
	c.Calls, c.Fake.Token, c.Req = append(c.Calls, "userinfo"), accessToken, req
	return c.User, c.Err
}

// Allows implements oauth.Origins.
func (f *Fake) Allows(_ context.Context, origin, clientID string) bool {
	client, ok := f.Origins[origin]
	return ok && (clientID == "" || client == clientID)
}

// Authorize implements pages.Authorizations. No client is known to it.
func (c Clients) Authorize(context.Context, broker.AuthorizationRequest, broker.Request) (*broker.Authorization, error) {
	return nil, &broker.Error{Code: broker.CodeInvalidRedirect, Message: "The client is not known."}
}

// Consent implements pages.Authorizations. No client is known to it.
func (c Clients) Consent(context.Context, broker.AuthorizationRequest, broker.ConsentDecision, broker.Request) (*broker.Authorization, error) {
	return nil, &broker.Error{Code: broker.CodeInvalidRedirect, Message: "The client is not known."}
}

// EndSession implements pages.Logouts. There is no session.
func (c Clients) EndSession(context.Context, broker.EndSessionRequest, broker.Request) (*broker.EndSession, error) {
	return &broker.EndSession{}, nil
}
