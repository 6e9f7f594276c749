package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
)

// The token types of RFC 8693 §3 that are accepted.
const (
	tokenTypeAccess = "urn:ietf:params:oauth:token-type:access_token"
	tokenTypeJWT    = "urn:ietf:params:oauth:token-type:jwt"
	tokenTypeID     = "urn:ietf:params:oauth:token-type:id_token"
)

// exchangeToken exchanges an access token of this broker for one of the client (RFC 8693), or an id token of a provider for a grant. A
// token that is not accepted is CodeInvalidRequest (§2.2.2).
func (svc *Service) exchangeToken(ctx context.Context, client directory.ClientRecord, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	ours := func(tokenType string) bool { return tokenType == tokenTypeAccess || tokenType == tokenTypeJWT }
	switch {
	case in.SubjectToken == "":
		return nil, badRequest("The parameter subject_token is missing.")
	case in.SubjectTokenType == "":
		return nil, badRequest("The parameter subject_token_type is missing.")
	case in.RequestedTokenType != "" && in.RequestedTokenType != tokenTypeAccess:
		return nil, badRequest("Only access tokens can be requested.")
	case (in.ActorToken == "") != (in.ActorTokenType == ""): // §2.1
		return nil, badRequest("The parameters actor_token and actor_token_type belong together.")
	case in.ActorToken != "" && !ours(in.ActorTokenType):
		return nil, badRequest("The actor_token has to be an access token of this broker.")
	}
	var answer *broker.TokenAnswer
	var err error
	switch {
	case ours(in.SubjectTokenType):
		answer, err = svc.exchangeAccessToken(ctx, client, in, req)
	case in.SubjectTokenType == tokenTypeID && in.ActorToken == "" && svc.cfg.Upstreams != nil:
		answer, err = svc.exchangeIDToken(ctx, client, in, req)
	default:
		return nil, badRequest("The subject_token_type is not supported.")
	}
	if err != nil {
		return nil, err
	}
	answer.IssuedTokenType = tokenTypeAccess
	return answer, nil
}

// exchangeAccessToken issues a token that keeps the subject and the session of the subject token, and dies with them.
func (svc *Service) exchangeAccessToken(ctx context.Context, client directory.ClientRecord, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	subject, err := svc.verifyOwn(ctx, in.SubjectToken, "subject_token")
	if err != nil {
		return nil, err
	}
	mine := svc.audiences(client)
	common := intersect(mine, subject.Audience)
	switch {
	case len(common) == 0:
		return nil, refusal(broker.CodeInvalidRequest, "The subject_token is for none of the client's audiences.", "subject token for another audience")
	case subject.SID == "" && subject.ClientID != client.ID:
		return nil, refusal(broker.CodeInvalidRequest, "The subject_token is another client's own.", "another client's own token")
	}
	scopes, err := exchangedScopes(client, subject, in.Scope)
	if err != nil {
		return nil, err
	}
	audience := common
	switch {
	case len(in.Resources)+len(in.Audiences) > 0:
		if audience, err = svc.narrow(common, in.Resources, in.Audiences); err != nil {
			return nil, err
		}
	case onlyOpenID(scopes):
		audience = []string{svc.cfg.Issuer}
	}
	now := svc.cfg.Clock.Now()
	claims := credential.AccessToken{
		Issuer: svc.cfg.Issuer, Subject: subject.Subject, Audience: audience, ClientID: client.ID, SID: subject.SID, Scope: strings.Join(scopes, " "),
		IssuedAt: now.Unix(), ExpiresAt: min(now.Add(svc.accessLife(client)).Unix(), subject.ExpiresAt),
		AuthTime: subject.AuthTime, ACR: subject.ACR, AMR: subject.AMR, Act: subject.Act.actor(),
	}
	if in.ActorToken != "" {
		actor, err := svc.verifyOwn(ctx, in.ActorToken, "actor_token")
		if err != nil {
			return nil, err
		}
		if actor.ClientID != client.ID && len(intersect(mine, actor.Audience)) == 0 {
			return nil, refusal(broker.CodeInvalidRequest, "The actor_token is for none of the client's audiences.", "actor token for another audience")
		}
		claims.Act = &credential.Actor{Subject: actor.Subject, ClientID: actor.ClientID, Prior: claims.Act}
	}
	// The epoch of the client is read before the session is judged: a revocation of the client that one of them misses ends the token.
	if _, claims.CEP, err = svc.reserve(ctx, client.ID, claims.ExpiresAt); err != nil {
		return nil, err
	}
	claims.SEP = subject.SEP
	var custom map[string]any
	if subject.SID != "" {
		if custom, err = svc.exchangedClaims(ctx, claims, subject.ClientID); err != nil {
			return nil, err
		}
	}
	answer, err := svc.sign(ctx, &claims, custom)
	if err != nil {
		return nil, err
	}
	more := []any{"subject_client_id", subject.ClientID, "subject_jti", subject.ID}
	if a := claims.Act; a != nil {
		more = append(more, "actor", a.Subject, "actor_client_id", a.ClientID)
	}
	svc.issued(ctx, broker.GrantTokenExchange, claims, req, more...)
	return answer, nil
}

// exchangedScopes returns the scopes of an exchanged token: those of the subject token that the client has, or the requested ones among
// them. Requested scopes that are not the client's are left out; one that is, beyond those of the subject token, is refused.
func exchangedScopes(client directory.ClientRecord, subject ownToken, text string) ([]string, error) {
	requested, err := parseScope(text)
	if err != nil {
		return nil, err
	}
	has := strings.Fields(subject.Scope)
	scopes := intersect(has, client.Scopes)
	if len(requested) > 0 {
		scopes = intersect(requested, client.Scopes)
	}
	if len(scopes) == 0 {
		return nil, errNoScope()
	}
	if len(intersect(scopes, has)) != len(scopes) {
		return nil, refusal(broker.CodeInvalidScope, "The scope is beyond that of the subject_token.", "scope beyond the subject token's")
	}
	return scopes, nil
}

// exchangedClaims returns the configured claims of an exchanged token, whose session has to be alive.
func (svc *Service) exchangedClaims(ctx context.Context, claims credential.AccessToken, clientID string) (map[string]any, error) {
	st, err := svc.path.View(claims.Subject).State(ctx, claims.SID, clientID)
	if err != nil {
		return nil, err
	}
	if why := session.Judge(svc.cfg.Clock.Now(), svc.cfg.Policy, st); why != "" {
		return nil, refusal(broker.CodeInvalidRequest, "The session of the subject_token has ended.", string(why))
	}
	s := *st.Session
	s.ClientID, s.Scope = claims.ClientID, claims.Scope
	return svc.issuer.CustomClaims(ctx, &s, st.User)
}

// exchangeIDToken opens a grant without a browser session for an id token of a provider.
func (svc *Service) exchangeIDToken(ctx context.Context, client directory.ClientRecord, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	scopes, err := parseScope(in.Scope)
	if err != nil {
		return nil, err
	}
	if len(scopes) == 0 {
		scopes = client.DefaultScopes
	}
	if scopes = intersect(scopes, client.Scopes); len(scopes) == 0 {
		return nil, errNoScope()
	}
	audience, err := svc.narrow(svc.audiences(client), in.Resources, in.Audiences)
	if err != nil {
		return nil, err
	}
	if onlyOpenID(scopes) && len(in.Resources)+len(in.Audiences) == 0 {
		audience = []string{svc.cfg.Issuer}
	}
	text, open, marks, err := svc.cfg.Upstreams.ProveIDToken(ctx, in.SubjectToken, "", req)
	if err != nil {
		return nil, unacceptable(err)
	}
	uid, ok := broker.ParseID(text)
	if !ok {
		return nil, fmt.Errorf("opening a grant: %w", session.ErrRecord)
	}
	open.Scope, open.Audience, open.Offline = strings.Join(scopes, " "), audience, true
	token := credential.NewRefreshToken(uid, broker.NewID())
	eff, err := svc.openGrant(ctx, client, token, open, marks, req)
	switch {
	case err != nil:
		return nil, err
	case eff.Refusal == session.RefuseUsed:
		return nil, refusal(broker.CodeInvalidRequest, "The subject_token was exchanged before; sign in at the provider again.", string(eff.Refusal))
	case eff.Refusal != "":
		return nil, refusal(broker.CodeInvalidRequest, "The user of the subject_token cannot sign in.", string(eff.Refusal))
	}
	answer, claims, err := svc.grantAnswer(ctx, client, eff, token, scopes, audience, "")
	if err != nil {
		return nil, err
	}
	svc.issued(ctx, broker.GrantTokenExchange, claims, req, "provider", open.Provider, "issuer", open.UpstreamIssuer, "subject", open.UpstreamSubject)
	return answer, nil
}

// unacceptable turns the refusal of a subject or actor token into that of the standard. Errors that are not the token's stay.
func unacceptable(err error) error {
	var app *broker.Error
	if !errors.As(err, &app) || app.RetryAfter > 0 {
		return err
	}
	switch app.Code {
	case broker.CodeUnavailable, broker.CodeInternal, broker.CodeBusy, broker.CodeWritesRefused:
		return err
	}
	return refusal(broker.CodeInvalidRequest, app.Message, string(app.Code))
}

// ownToken is the claims of an access token of this broker.
type ownToken struct {
	Subject   string    `json:"sub"`
	Audience  []string  `json:"aud"`
	ClientID  string    `json:"client_id"`
	SID       string    `json:"sid"`
	Scope     string    `json:"scope"`
	ExpiresAt int64     `json:"exp"`
	AuthTime  int64     `json:"auth_time"`
	ACR       string    `json:"acr"`
	AMR       []string  `json:"amr"`
	SEP       int64     `json:"sep"`
	ID        string    `json:"jti"`
	Act       *ownActor `json:"act"`
}

type ownActor struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
}

func (a *ownActor) actor() *credential.Actor {
	if a == nil {
		return nil
	}
	return &credential.Actor{Subject: a.Subject, ClientID: a.ClientID}
}

// verifyOwn returns the claims of an access token of this broker that is alive.
func (svc *Service) verifyOwn(ctx context.Context, token, param string) (ownToken, error) {
	raw, err := svc.cfg.AccessTokens.Verify(ctx, token)
	if err != nil {
		err = unacceptable(commit.AppError(ctx, "verifying an access token", err))
		var app *broker.Error
		if errors.As(err, &app) && app.Code == broker.CodeInvalidRequest {
			return ownToken{}, refusal(broker.CodeInvalidRequest, "The "+param+" is invalid, expired or revoked.", param+" refused: "+app.Err.Error())
		}
		return ownToken{}, err
	}
	var claims ownToken
	if err := json.Unmarshal(raw, &claims); err != nil { // the verifier has refused ambiguous members
		return ownToken{}, fmt.Errorf("reading the claims of an access token: %w", err)
	}
	return claims, nil
}
