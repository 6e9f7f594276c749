package upstream

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tokenbroker/broker"
)

// Exchange implements [broker.IdentityProvider].
func (p *Provider) Exchange(ctx context.Context, code broker.CodeExchange) (broker.Identity, error) {
	if code.Issuer != "" && !slices.Contains(p.cfg.Issuers, code.Issuer) { // RFC 9207 §2.4
		return broker.Identity{}, fmt.Errorf("%w: the answer is another issuer's", broker.ErrUpstreamCode)
	}
	meta, err := p.discover(ctx)
	if err != nil {
		return broker.Identity{}, err
	}
	if code.Issuer == "" && meta.answersIss {
		return broker.Identity{}, fmt.Errorf("%w: the answer lacks the issuer that the provider promised", broker.ErrUpstreamCode)
	}
	conf := meta.oauth
	conf.RedirectURL = code.RedirectURI
	tokens, err := conf.Exchange(oidc.ClientContext(ctx, meta.client()), code.Code, oauth2.VerifierOption(code.Verifier))
	if err != nil {
		err = p.exchangeError(ctx, err)
	}
	switch unavailable := errors.Is(err, broker.ErrUpstreamUnavailable); {
	case !unavailable:
		p.recordOutcome(nil)
	case ctx.Err() == nil: // the provider failed, and not the browser's request
		p.recordOutcome(err)
	}
	if err != nil {
		return broker.Identity{}, err
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return broker.Identity{}, fmt.Errorf("%w: no id token came with the code", broker.ErrUpstreamCode)
	}
	id, err := p.verifyIDToken(ctx, meta, raw, []string{p.cfg.ClientID})
	if err != nil {
		return broker.Identity{}, err
	}
	if code.Nonce == "" || subtle.ConstantTimeCompare([]byte(id.nonce), []byte(code.Nonce)) != 1 {
		return broker.Identity{}, fmt.Errorf("%w: nonce mismatch", broker.ErrUpstreamToken)
	}
	if id.atHash != "" && !id.matchesAccessToken(tokens.AccessToken) {
		return broker.Identity{}, fmt.Errorf("%w: at_hash", broker.ErrUpstreamToken)
	}
	return id.identity(p.cfg), nil
}

// exchangeError distinguishes a provider that refused from one that does not answer. The library's
// error may contain the body of the answer, so only the error codes of the protocol are returned.
func (p *Provider) exchangeError(ctx context.Context, err error) error {
	var blocked *addressError
	if errors.As(err, &blocked) {
		p.cfg.Logger.ErrorContext(ctx, "the provider's token_endpoint is refused", "error", blocked)
		return fmt.Errorf("%w: token_endpoint: %w", broker.ErrUpstreamUnavailable, blocked)
	}
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		return fmt.Errorf("%w: the token endpoint failed", broker.ErrUpstreamUnavailable)
	}
	status := refused.Response.StatusCode
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return fmt.Errorf("%w: the token endpoint answered status %d", broker.ErrUpstreamUnavailable, status)
	}
	code := "no known error code"
	if slices.Contains(tokenErrors, refused.ErrorCode) {
		code = refused.ErrorCode
	}
	if code != "invalid_grant" { // not the browser's fault
		p.cfg.Logger.ErrorContext(ctx, "the provider refuses this client", "status", status, "code", code)
	}
	return fmt.Errorf("%w: status %d, %s", broker.ErrUpstreamCode, status, code)
}

// tokenErrors are the codes of RFC 6749 §5.2.
var tokenErrors = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
}

// VerifyTokens implements [broker.IdentityProvider]. The identity is proven if the provider is
// Cognito, whose tokens name their kind, or if the id token has the at_hash of the access token.
func (p *Provider) VerifyTokens(ctx context.Context, tokens broker.UpstreamTokens) (broker.Identity, error) {
	if !p.cfg.Exchange {
		return broker.Identity{}, broker.ErrExchangeDisabled
	}
	meta, err := p.discover(ctx)
	if err != nil {
		return broker.Identity{}, err
	}
	id, err := p.verifyIDToken(ctx, meta, tokens.IDToken, p.cfg.AllowedClientIDs)
	if err != nil {
		return broker.Identity{}, err
	}
	if p.cfg.Now().Sub(id.issued) > p.cfg.MaxTokenAge {
		return broker.Identity{}, fmt.Errorf("%w: issued too long ago", broker.ErrUpstreamExpired)
	}
	proven := p.cfg.Kind == KindCognito
	if tokens.AccessToken != "" {
		if err := p.verifyAccessToken(ctx, meta, tokens.AccessToken, id); err != nil {
			return broker.Identity{}, err
		}
		proven = true
	}
	if claim, found := id.otherTokenKind(proven); found {
		return broker.Identity{}, fmt.Errorf("%w: not an id token: it has the claim %s", broker.ErrUpstreamToken, claim)
	}
	identity := id.identity(p.cfg)
	identity.Nonce, identity.Proven = id.nonce, proven
	return identity, nil
}
