package oauthclient

import (
	"context"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
)

// clientCredentials issues a token to a client for itself (RFC 6749 §4.4). It has no user, so it has no scopes of OpenID Connect, no
// id token and none of the configured claims. There is no refresh token (§4.4.3).
func (svc *Service) clientCredentials(ctx context.Context, client directory.ClientRecord, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	scopes, err := parseScope(in.Scope)
	if err != nil {
		return nil, err
	}
	if len(scopes) == 0 {
		scopes = client.DefaultScopes
	}
	scopes = slices.DeleteFunc(intersect(scopes, client.Scopes), credential.OpenIDScope)
	if len(scopes) == 0 {
		return nil, errNoScope()
	}
	audience, err := svc.narrow(svc.audiences(client), in.Resources, in.Audiences)
	if err != nil {
		return nil, err
	}
	now := svc.cfg.Clock.Now()
	claims := credential.AccessToken{
		Issuer: svc.cfg.Issuer, Subject: client.ID, Audience: audience, ClientID: client.ID, Scope: strings.Join(scopes, " "),
		IssuedAt: now.Unix(), ExpiresAt: now.Add(svc.accessLife(client)).Unix(),
	}
	if claims.SEP, claims.CEP, err = svc.reserve(ctx, client.ID, claims.ExpiresAt); err != nil {
		return nil, err
	}
	answer, err := svc.sign(ctx, &claims, nil)
	if err != nil {
		return nil, err
	}
	svc.issued(ctx, broker.GrantClientCredentials, claims, req)
	return answer, nil
}

// reserve puts the exp of a token that no shard decides on record, and then reads the epochs of its client. In this order, an event
// that ends the client's tokens and is not in the epochs outlives the token.
func (svc *Service) reserve(ctx context.Context, clientID string, exp int64) (sep, cep int64, err error) {
	if err := svc.path.Reserve(ctx, exp); err != nil {
		return 0, 0, err
	}
	sep, cep, client, err := svc.path.ClientEpochs(ctx, clientID)
	if err == nil && (client.ID == "" || client.Removed) {
		err = refusal(broker.CodeInvalidClient, "The client was removed.", "the client was removed in the meantime")
	}
	return sep, cep, err
}

// sign signs an access token that belongs to no new grant, and sets the jti of its claims.
func (svc *Service) sign(ctx context.Context, claims *credential.AccessToken, custom map[string]any) (*broker.TokenAnswer, error) {
	var err error
	if claims.ID, err = credential.NewJTI(); err != nil {
		return nil, err
	}
	answer := &broker.TokenAnswer{ExpiresIn: time.Unix(claims.ExpiresAt, 0).Sub(svc.cfg.Clock.Now()), Scope: claims.Scope}
	answer.AccessToken, err = svc.issuer.AccessToken(ctx, *claims, custom)
	return answer, err
}
