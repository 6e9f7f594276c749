package oauthclient

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
)

// grantTypes are the supported grant types, with the parameters that each has in addition to those of all grant types.
var grantTypes = map[string]struct {
	answer func(*Service, context.Context, directory.ClientRecord, broker.TokenRequest, broker.Request) (*broker.TokenAnswer, error)
	params []string
	// confidential is true if public clients and clients that describe themselves cannot use the grant type.
	confidential bool
}{
	broker.GrantAuthorizationCode: {(*Service).redeemCode, []string{"code", "code_verifier"}, false},
	broker.GrantRefreshToken:      {(*Service).refresh, []string{"refresh_token"}, false},
	broker.GrantClientCredentials: {(*Service).clientCredentials, []string{"audience"}, true},
	broker.GrantTokenExchange: {(*Service).exchangeToken, []string{
		"audience", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type",
	}, true},
}

// Token answers a request to the token endpoint (RFC 6749 §3.2, RFC 8693 §2). What it issues is durable. Each request has an audit
// line, except a plain refresh, which has one at level debug.
//
// Errors: CodeInvalidRequest, CodeInvalidClient, CodeInvalidGrant, CodeUnauthorizedClient, CodeUnsupportedGrantType, CodeInvalidScope
// and CodeInvalidTarget as in RFC 6749 §5.2 and RFC 8707 §2; CodeClaimsFailed, CodeTooManySessions, CodeTooManyAttempts,
// CodeUpstreamUnavailable, CodeBusy, CodeWritesRefused and CodeUnavailable, after which the same request may be sent again.
func (svc *Service) Token(ctx context.Context, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	if err := svc.cfg.Secrets.Outdated(); err != nil {
		return nil, commit.AppError(ctx, "checking the keys", err)
	}
	if err := checkSizes(in); err != nil {
		return nil, svc.tokenRefused(ctx, "", in, err, req)
	}
	client, err := svc.authenticate(ctx, in.Client, req)
	if err != nil {
		return nil, err // it has its audit line
	}
	answer, err := svc.answer(ctx, client, in, req)
	if err != nil {
		return nil, svc.tokenRefused(ctx, client.ID, in, err, req)
	}
	answer.ClientID = client.ID
	return answer, nil
}

// RefuseTokenRequest writes the audit line of a request to the token endpoint that cannot be read and never gets to Token. reason
// contains nothing that the client sent.
func (svc *Service) RefuseTokenRequest(ctx context.Context, code broker.Code, reason string, req broker.Request) {
	svc.audit.Info(ctx, "token_refused", req, "refusal", string(code), "reason", reason)
}

// answer answers the request of an authenticated client.
func (svc *Service) answer(ctx context.Context, client directory.ClientRecord, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	grantType, supported := grantTypes[in.GrantType]
	switch {
	case !supported:
		return nil, refusal(broker.CodeUnsupportedGrantType, "The grant type is not supported.", "unsupported grant type")
	case grantType.confidential && client.Public():
		return nil, refusal(broker.CodeUnauthorizedClient, "Public clients cannot use this grant type.", "public client")
	case grantType.confidential && client.Class() != broker.ClassKnown:
		return nil, refusal(broker.CodeUnauthorizedClient, "A client that describes itself cannot use this grant type.", selfDescribed)
	case !slices.Contains(client.Grants, in.GrantType):
		return nil, refusal(broker.CodeUnauthorizedClient, "The client may not use this grant type.", "the client does not have the grant type")
	}
	for _, name := range sentParams(in) {
		if !slices.Contains(grantType.params, name) {
			return nil, badRequest("The parameter " + name + " does not belong to this grant type.")
		}
	}
	return grantType.answer(svc, ctx, client, in, req)
}

// sentParams returns the names of the parameters in the request that belong to some grant types only.
func sentParams(in broker.TokenRequest) []string {
	var sent []string
	for _, p := range []struct{ name, value string }{
		{"code", in.Code}, {"code_verifier", in.Verifier}, {"refresh_token", in.RefreshToken},
		{"audience", strings.Join(in.Audiences, " ")}, {"subject_token", in.SubjectToken}, {"subject_token_type", in.SubjectTokenType},
		{"actor_token", in.ActorToken}, {"actor_token_type", in.ActorTokenType}, {"requested_token_type", in.RequestedTokenType},
	} {
		if p.value != "" {
			sent = append(sent, p.name)
		}
	}
	for _, name := range in.Unused { // other unknown parameters are ignored (RFC 6749 §3.2)
		if name == "username" || name == "password" || name == "assertion" || name == "device_code" {
			sent = append(sent, name)
		}
	}
	return sent
}

// The limits of the parameters, in bytes.
const (
	maxCode       = 16 << 10
	maxSmallParam = 2048
	maxToken      = 64 << 10 // as of a provider
	maxTargets    = 16
)

// checkSizes refuses a request without a grant type, or with a parameter that is longer than any valid one.
func checkSizes(in broker.TokenRequest) error {
	if in.GrantType == "" {
		return badRequest("The parameter grant_type is missing.")
	}
	if len(in.Resources) > maxTargets || len(in.Audiences) > maxTargets {
		return badRequest("The request has too many resource or audience parameters.")
	}
	for _, p := range []struct {
		limit  int
		values []string
	}{
		{maxCode, []string{in.Code}},
		{maxToken, []string{in.SubjectToken, in.ActorToken}},
		{maxVerifier, []string{in.Verifier}},
		{maxSmallParam, []string{in.GrantType, in.RedirectURI, in.RefreshToken, in.Scope, in.SubjectTokenType, in.ActorTokenType, in.RequestedTokenType}},
		{maxSmallParam, in.Resources},
		{maxSmallParam, in.Audiences},
	} {
		for _, value := range p.values {
			if len(value) > p.limit {
				return badRequest("A parameter is too long.")
			}
		}
	}
	return nil
}

// errReported is the cause of a refusal that has an audit line already.
var errReported = errors.New("an audit line has the reason")

// tokenRefused writes the audit line of a refused request, unless it has one, and returns its application error.
func (svc *Service) tokenRefused(ctx context.Context, clientID string, in broker.TokenRequest, err error, req broker.Request) error {
	app := commit.AppError(ctx, "answering a token request", err)
	if errors.Is(err, errReported) {
		return app
	}
	attrs := []any{"refusal", string(app.Code)}
	if _, known := grantTypes[in.GrantType]; known {
		attrs = append(attrs, "grant_type", in.GrantType)
	}
	if clientID != "" {
		attrs = append(attrs, "client_id", clientID)
	}
	var cause *refused
	if errors.As(err, &cause) {
		attrs = append(attrs, "reason", cause.why)
	} else {
		attrs = append(attrs, "reason", app.Message)
	}
	svc.audit.Info(ctx, "token_refused", req, attrs...)
	return app
}

// refusal returns a refusal of the token endpoint. why is for the audit line and contains nothing that the client sent.
func refusal(code broker.Code, message, why string) error {
	return &broker.Error{Code: code, Message: message, Err: &refused{why}}
}

func badRequest(message string) error {
	return &broker.Error{Code: broker.CodeInvalidRequest, Message: message}
}

// issued writes the audit line of a grant.
func (svc *Service) issued(ctx context.Context, grantType string, claims credential.AccessToken, req broker.Request, more ...any) {
	svc.audit.Info(ctx, "token_issued", req, append([]any{
		"grant_type", grantType, "client_id", claims.ClientID, "sub", claims.Subject, "sid", claims.SID, "jti", claims.ID, "scope", claims.Scope,
		"aud", strings.Join(claims.Audience, " "),
	}, more...)...)
}

// lifetimes sets the lifetimes of a grant to those of the client. They stay zero, and are the broker's, if the client has none.
func (svc *Service) lifetimes(open *session.Open, client directory.ClientRecord) {
	own := client.Lifetimes
	if own == (directory.ClientLifetimes{}) {
		return
	}
	seconds := func(own int64, policy time.Duration) int64 {
		if own > 0 {
			return own
		}
		return int64(policy / time.Second)
	}
	policy := svc.cfg.Policy
	open.AccessS = own.Access
	open.IdleS, open.AbsoluteS = seconds(own.Idle, policy.Idle), seconds(own.Absolute, policy.Absolute)
	open.GraceS = int64(policy.Grace / time.Second)
	if own.Grace != nil {
		open.GraceS = *own.Grace
	}
}

// accessLife is the lifetime of the client's access tokens that belong to no grant.
func (svc *Service) accessLife(client directory.ClientRecord) time.Duration {
	life := svc.path.AccessLife()
	if own := client.Lifetimes.Access; own > 0 {
		life = min(life, time.Duration(own)*time.Second)
	}
	return life
}

// grantAnswer signs the tokens of a grant after a committed step. scopes and audience are those of the access token.
func (svc *Service) grantAnswer(ctx context.Context, client directory.ClientRecord, eff session.Effects, token credential.RefreshToken, scopes, audience []string, nonce string) (*broker.TokenAnswer, credential.AccessToken, error) {
	custom, err := svc.issuer.CustomClaims(ctx, eff.Session, eff.User)
	if err != nil {
		return nil, credential.AccessToken{}, err
	}
	claims := credential.SessionToken(svc.cfg.Issuer, audience, eff)
	claims.Scope = strings.Join(scopes, " ")
	if claims.ID, err = credential.NewJTI(); err != nil {
		return nil, claims, err
	}
	answer := &broker.TokenAnswer{ExpiresIn: time.Unix(eff.ExpiresAt, 0).Sub(svc.cfg.Clock.Now()), Scope: claims.Scope}
	if answer.AccessToken, err = svc.issuer.AccessToken(ctx, claims, custom); err != nil {
		return nil, claims, err
	}
	if slices.Contains(scopes, credential.ScopeOpenID) {
		s := eff.Session
		answer.IDToken, err = svc.issuer.IDToken(ctx, credential.IDToken{
			Issuer: svc.cfg.Issuer, Subject: s.UID, Audience: s.ClientID, IssuedAt: eff.IssuedAt, ExpiresAt: eff.ExpiresAt,
			AuthTime: s.AuthTime, Nonce: nonce, ACR: s.ACR, AMR: s.AMR, SID: s.BrowserSID,
		}, answer.AccessToken, idTokenClaims(eff.User, scopes, s.IDTokenClaims))
		if err != nil {
			return nil, claims, err
		}
	}
	if slices.Contains(client.Grants, broker.GrantRefreshToken) {
		token.Generation = eff.Session.Generation
		answer.RefreshToken = token.Encode(svc.cfg.Secrets)
	}
	return answer, claims, nil
}

// idTokenScopeClaims are the claims of scopes that id tokens have, because some relying parties read no other claims, such as
// the API server of Kubernetes. Userinfo has all claims of the scopes.
var idTokenScopeClaims = map[string][]string{
	credential.ScopeEmail:   {"email", "email_verified"},
	credential.ScopeGroups:  {"groups"},
	credential.ScopeProfile: {"name", "preferred_username"},
}

// idTokenClaims returns the claims of an id token about the user: those of scopes, and those that the claims parameter requested.
func idTokenClaims(user *session.User, scopes, requested []string) map[string]any {
	names := slices.Clone(requested)
	for _, scope := range scopes {
		names = append(names, idTokenScopeClaims[scope]...)
	}
	return credential.UserClaims(user, nil, names)
}
