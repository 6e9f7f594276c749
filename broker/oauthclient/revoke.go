package oauthclient

import (
	"context"
	"errors"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// anotherClient is the reason for which a token of another client is not revoked.
const anotherClient = "issued to another client"

// Revoke revokes an access token, or the grant of a refresh token of any generation with the grant's access tokens (RFC 7009 §2). A
// token that is unknown or has ended is left as it is, without an error (§2.2). The revocation is durable when Revoke returns. The
// hint is not needed. Errors: those of the client's authentication, CodeInvalidGrant for a token of another client (§2.1),
// CodeUnavailable and CodeBusy.
func (svc *Service) Revoke(ctx context.Context, c broker.ClientCredentials, token, hint string, req broker.Request) (clientID string, err error) {
	if err := svc.cfg.Secrets.Outdated(); err != nil {
		return "", commit.AppError(ctx, "checking the keys", err)
	}
	client, err := svc.authenticate(ctx, c, req)
	if err != nil {
		return "", err
	}
	if token == "" {
		err := badRequest("The parameter token is missing.")
		svc.audit.Info(ctx, "token_revoke_refused", req, "client_id", client.ID, "refusal", string(broker.CodeInvalidRequest))
		return client.ID, err
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	var seq uint64
	var why string
	if refreshToken, notOurs := credential.ParseRefreshToken(token, svc.cfg.Secrets); notOurs == nil {
		seq, why, err = svc.revokeGrant(ctx, client, refreshToken, req)
	} else {
		seq, why, err = svc.revokeAccessToken(ctx, client, token, req)
	}
	switch {
	case err != nil:
		return client.ID, commit.AppError(ctx, "revoking a token", err)
	case why == anotherClient:
		svc.audit.Info(ctx, "token_revoke_refused", req, "client_id", client.ID, "refusal", string(broker.CodeInvalidGrant), "reason", why)
		return client.ID, oauthError(broker.CodeInvalidGrant, "The token was issued to another client.")
	case why != "":
		svc.audit.Info(ctx, "token_revoke_refused", req, "client_id", client.ID, "reason", why)
	case seq != 0:
		delivery.Wait(ctx, seq)
	}
	return client.ID, nil
}

// revokeGrant ends the grant of a refresh token. why is the reason for which nothing was done.
func (svc *Service) revokeGrant(ctx context.Context, client directory.ClientRecord, token credential.RefreshToken, req broker.Request) (seq uint64, why string, err error) {
	uid, sid := token.UID.String(), token.SID.String()
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, ClientID: client.ID, Message: session.EndSession{
		SecretHash: token.SecretHash(), Channel: session.ChannelOAuth, ClientID: client.ID, Reason: revocation.ReasonRevoked,
	}})
	if err != nil {
		return 0, "", err
	}
	switch refusal := result.Effects.Refusal; refusal {
	case "":
	case session.RefuseClient:
		return 0, anotherClient, nil
	default:
		return 0, string(refusal), nil
	}
	svc.audit.Info(ctx, "grant_revoke", req, "client_id", client.ID, "uid", uid, "sid", sid, "changed", result.Effects.PutSession != nil)
	return result.Seq, "", nil
}

// revokeAccessToken records the end of an access token.
func (svc *Service) revokeAccessToken(ctx context.Context, client directory.ClientRecord, token string, req broker.Request) (seq uint64, why string, err error) {
	if len(token) > maxToken {
		return 0, "not a token of this broker", nil
	}
	claims, err := svc.verifyOwn(ctx, token, "token")
	var app *broker.Error
	switch {
	case errors.As(err, &app) && app.Code == broker.CodeInvalidRequest:
		return 0, "an access token that is invalid, expired or revoked", nil
	case err != nil:
		return 0, "", err
	case claims.ClientID != client.ID:
		return 0, anotherClient, nil
	}
	changed, seq, err := svc.path.RevokeTokens(ctx, []string{claims.ID}, revocation.ReasonRevoked, "")
	if err != nil {
		return 0, "", err
	}
	svc.audit.Info(ctx, "token_revoke", req, "client_id", client.ID, "jti", claims.ID, "reason", string(revocation.ReasonRevoked), "changed", changed > 0)
	return seq, "", nil
}
