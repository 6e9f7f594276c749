package oauthclient

import (
	"context"
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/internal/plainjson"
)

// UserInfo returns the claims about the user of an access token with the scope openid, of any audience (OpenID Connect Core 1.0
// §5.3): those of the token's scopes, and those that the claims parameter of its authorization request named. Errors: those of the
// verification of the token; CodeInvalidToken for a token without a user; CodeInsufficientScope; CodeUnavailable.
func (svc *Service) UserInfo(ctx context.Context, accessToken string, req broker.Request) (*broker.UserInfo, error) {
	if err := svc.cfg.Secrets.Outdated(); err != nil {
		return nil, commit.AppError(ctx, "checking the keys", err)
	}
	raw, err := svc.cfg.AccessTokens.Verify(ctx, accessToken)
	if err != nil {
		return nil, commit.AppError(ctx, "checking the access token", err)
	}
	token, err := readUserToken(string(raw))
	if err != nil {
		return nil, commit.AppError(ctx, "reading the access token", err)
	}
	invalid := oauthError(broker.CodeInvalidToken, "The access token is not one of a user who is signed in.")
	switch {
	case token.sid == "":
		return nil, invalid
	case !slices.Contains(token.scopes, credential.ScopeOpenID):
		return nil, oauthError(broker.CodeInsufficientScope, "The access token does not have the scope openid.")
	}
	st, err := svc.path.View(token.sub).State(ctx, token.sid, token.clientID)
	switch {
	case err != nil:
		return nil, commit.AppError(ctx, "reading the user", err)
	case st.User == nil || st.User.Disabled || st.Session == nil || st.Session.Ended != nil:
		return nil, invalid
	}
	var requested []string
	if st.Session.ClientID == token.clientID { // the token of an exchange may be another client's, to which the user did not allow them
		requested = st.Session.UserInfoClaims
	}
	claims := credential.UserClaims(st.User, token.scopes, requested)
	claims["sub"] = st.User.UID
	return &broker.UserInfo{Claims: claims, ClientID: token.clientID}, nil
}

// userToken is the part of an access token's claims that userinfo needs.
type userToken struct {
	sub, sid, clientID string
	scopes             []string
}

func readUserToken(claims string) (t userToken, err error) {
	members, err := plainjson.ReadObject(claims, nil)
	if err != nil {
		return t, err
	}
	for _, m := range members {
		switch m.Name {
		case "sub":
			t.sub, err = plainjson.String(m.Value)
		case "sid":
			t.sid, err = plainjson.String(m.Value)
		case "client_id":
			t.clientID, err = plainjson.String(m.Value)
		case "scope":
			var scope string
			scope, err = plainjson.String(m.Value)
			t.scopes = strings.Fields(scope)
		}
		if err != nil {
			return userToken{}, err
		}
	}
	return t, nil
}
