package enduser

import (
	"context"
	"crypto/subtle"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
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
	p, ok := svc.cfg.Providers[provider]
	if !ok {
		return nil, &broker.Error{Code: broker.CodeUnknownProvider, Message: "No sign-in provider of this name is configured."}
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
		return nil, refusal
	}
	return svc.openForIdentity(ctx, identity, marks, svc.priorSession(req), req)
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
