package enduser

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
)

// NewExchangeNonce returns a nonce for the authentication request that a SPA sends to a provider itself.
func (svc *Service) NewExchangeNonce() broker.ExchangeNonce {
	return credential.NewNonce(svc.cfg.Secrets, svc.cfg.Clock.Now())
}

// ExchangeTokens opens a session for tokens that a SPA received from the provider: once for
// each id token, which has to be proven to be an id token. Errors: CodeUnknownProvider,
// CodeExchangeDisabled, CodeUpstreamToken, CodeUpstreamExpired, CodeEmailNotVerified,
// CodeProfileTooLarge, CodeProfileInvalid,
// CodeIDTokenUnproven, CodeNonceInvalid, CodeNonceExpired, CodeNonceUsed, CodeTokenUsed,
// CodeUpstreamUnavailable, CodeTooManyAttempts, CodeBusy.
func (svc *Service) ExchangeTokens(ctx context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request) (grant *broker.Grant, err error) {
	if err := svc.checkKeys(ctx); err != nil {
		return nil, err
	}
	err = svc.proveTokens(ctx, provider, tokens, req, func(identity broker.Identity, marks []commit.Mark) (err error) {
		grant, err = svc.openForIdentity(ctx, identity, marks, svc.priorSession(req), req)
		return err
	})
	return grant, err
}

// ProveIDToken returns the user of an id token of a provider, whom it creates if there is none, and the session to open for it, with
// the replay marks that the Open has to make. The checks are those of ExchangeTokens; the provider is the one that the token
// names as its issuer. Errors: those of ExchangeTokens.
func (svc *Service) ProveIDToken(ctx context.Context, idToken, accessToken string, req broker.Request) (uid string, open session.Open, marks []commit.Mark, err error) {
	tokens := broker.UpstreamTokens{IDToken: idToken, AccessToken: accessToken}
	err = svc.proveTokens(ctx, svc.providerOf(idToken), tokens, req, func(identity broker.Identity, used []commit.Mark) (err error) {
		marks = used
		uid, open, err = svc.linkIdentity(ctx, identity, marks, req)
		return err
	})
	return uid, open, marks, err
}

// providerOf returns the name of the provider whose issuer the token names, or "". The token is not verified.
func (svc *Service) providerOf(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil || claims.Issuer == "" {
		return ""
	}
	for _, name := range svc.Providers() {
		p, ok := svc.cfg.Providers[name].(interface{ Issuers() []string })
		if ok && slices.Contains(p.Issuers(), claims.Issuer) {
			return name
		}
	}
	return ""
}

// proveTokens proves the identity in a provider's tokens and calls then, whose error counts as that of the login.
func (svc *Service) proveTokens(ctx context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request, then func(broker.Identity, []commit.Mark) error) (err error) {
	p, ok := svc.cfg.Providers[provider]
	if !ok {
		return &broker.Error{Code: broker.CodeUnknownProvider, Message: "No sign-in provider of this name is configured."}
	}
	var identity broker.Identity
	var marks []commit.Mark
	ended, err := svc.throttleLogin(ctx, req)
	if err == nil {
		defer func() { ended(err) }()
		identity, err = atProvider(svc, provider, func() (broker.Identity, error) { return p.VerifyTokens(ctx, tokens) })
	}
	if err == nil {
		marks, err = svc.proveIDToken(ctx, identity, tokens.NonceCookie)
	}
	if err != nil {
		refusal := svc.upstream(ctx, "verifying upstream tokens", err)
		svc.audit.Info(ctx, "exchange_failed", req, "provider", provider, "refusal", string(refusal.Code))
		return refusal
	}
	return then(identity, marks)
}

// proveIDToken checks that the token is an id token, and not another token of the
// issuer for the same client (RFC 8725 §3.12). It returns the replay marks of the exchange: of the token,
// and of its nonce if this broker issued it. Such a nonce is checked even if the token is
// proven in another way, because the SPA requested it. Errors: CodeTokenUsed, CodeNonceExpired,
// CodeNonceUsed, CodeNonceInvalid, CodeIDTokenUnproven, and those of cookie.
func (svc *Service) proveIDToken(ctx context.Context, identity broker.Identity, cookie func(suffix string) (string, error)) ([]commit.Mark, error) {
	token := commit.NewMark("id_token", identity.TokenHash, identity.ExpiresAt.Add(time.Hour))
	expires, want, issued := credential.OpenNonce(identity.Nonce, svc.cfg.Secrets)
	if !issued && !identity.Proven {
		return nil, unproven(nil)
	}
	if !issued {
		return []commit.Mark{token}, nil
	}
	nonce := commit.NewMark("exchange-nonce", identity.Nonce, expires.Add(time.Hour))
	for _, used := range []struct {
		mark    commit.Mark
		refusal *broker.Error
	}{
		{token, &broker.Error{Code: broker.CodeTokenUsed, Message: tokenUsed}},
		{nonce, &broker.Error{Code: broker.CodeNonceUsed, Message: "The nonce of this id token was used before: sign in at the provider with a new one."}},
	} {
		if found, err := used.mark.Exists(ctx, svc.cfg.Store); err != nil {
			return nil, err
		} else if found {
			return nil, used.refusal
		}
	}
	if !svc.cfg.Clock.Now().Before(expires) {
		return nil, &broker.Error{Code: broker.CodeNonceExpired, Message: "The nonce of this id token has expired: sign in at the provider with a new one."}
	}
	sent := ""
	if cookie != nil {
		var err error
		if sent, err = cookie(broker.LoginCookieSuffix(identity.Nonce)); err != nil {
			return nil, err
		}
	}
	if subtle.ConstantTimeCompare([]byte(sent), []byte(want)) != 1 {
		return nil, &broker.Error{Code: broker.CodeNonceInvalid, Message: "The nonce of this id token was not issued to this browser: send the nonce's cookie with the request."}
	}
	return []commit.Mark{token, nonce}, nil
}

// unproven returns the refusal of a token that is not proven to be an id token.
func unproven(cause error) *broker.Error {
	return &broker.Error{Code: broker.CodeIDTokenUnproven, Err: cause, Message: "The token is not proven to be an id token: " +
		"send the access token that its at_hash names, or sign in at the provider with a nonce from /auth/exchange-nonce. " +
		"Do not send an access token if the id token has no at_hash."}
}
