package broker

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// LoginStart sends the browser to a provider.
type LoginStart struct {
	RedirectURL string
	// CookieSuffix and CookieValue are the sealed login state, to come back within LoginLife.
	CookieSuffix, CookieValue string
}

// LoginCallback is what came back from a provider.
type LoginCallback struct {
	Provider, Code, State, Issuer string
	// Error is the provider's error parameter.
	Error string
	// Cookie is the sealed login state.
	Cookie string
}

// Providers are the names of the configured providers, sorted.
func (b *Broker) Providers() []string {
	names := make([]string, 0, len(b.cfg.Providers))
	for name := range b.cfg.Providers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// StartLogin begins the code flow with PKCE at a provider. The broker keeps nothing: the
// sealed state also names the session of req's refresh token, which CompleteLogin ends.
// returnTo was checked by the caller. Errors: CodeUnknownProvider, CodeUpstreamUnavailable,
// CodeBusy.
func (b *Broker) StartLogin(ctx context.Context, provider, redirectURI, returnTo string, req Request) (*LoginStart, error) {
	p, ok := b.cfg.Providers[provider]
	if !ok {
		return nil, &Error{Code: CodeUnknownProvider, Message: "There is no such sign-in provider."}
	}
	state := loginState{
		Provider: provider, RedirectURI: redirectURI, ReturnTo: returnTo,
		State: randomText(), Nonce: randomText(), Verifier: randomText(),
		Replaces: b.replaced(req),
	}
	to, err := atProvider(b, provider, func() (string, error) {
		return p.AuthorizeURL(ctx, AuthorizeRequest{
			RedirectURI: redirectURI, State: state.State, Nonce: state.Nonce, Verifier: state.Verifier,
		})
	})
	if err != nil {
		return nil, b.upstream(ctx, "starting a login", err)
	}
	cookie, err := state.seal(b.cfg.Secrets, b.cfg.Clock.Now().Add(LoginLife))
	if err != nil {
		return nil, b.internal(ctx, "starting a login", err)
	}
	return &LoginStart{RedirectURL: to, CookieSuffix: LoginCookieSuffix(state.State), CookieValue: cookie}, nil
}

// CompleteLogin ends the code flow: the login state is used up before the code is
// exchanged, and the identity opens a session. returnTo is given whenever the state could
// be opened, also with an error. Failures count against the address. Errors: CodeLoginState,
// CodeLoginUsed, CodeProviderError and those of ExchangeTokens.
func (b *Broker) CompleteLogin(ctx context.Context, cb LoginCallback, req Request) (grant *Grant, returnTo string, err error) {
	state, err := openLoginState(cb.Cookie, b.cfg.Secrets, b.cfg.Clock.Now())
	mine := subtle.ConstantTimeCompare([]byte(state.State), []byte(cb.State)) == 1
	if err != nil || !mine || state.Provider != cb.Provider {
		b.audit(ctx, "login_failed", req, "provider", cb.Provider, "refusal", string(CodeLoginState))
		return nil, "", &Error{Code: CodeLoginState, Message: "This sign-in was not started in this browser, or too long ago."}
	}
	p, ok := b.cfg.Providers[state.Provider]
	if !ok {
		return nil, state.ReturnTo, &Error{Code: CodeUnknownProvider, Message: "There is no such sign-in provider."}
	}
	var identity Identity
	ended, err := b.throttleLogin(ctx, req)
	if err == nil {
		defer func() { ended(err) }()
		identity, err = atProvider(b, state.Provider, func() (Identity, error) { return b.redeem(ctx, p, state, cb) })
	}
	if err != nil {
		refusal := b.upstream(ctx, "exchanging the code", err)
		b.audit(ctx, "login_failed", req, "provider", state.Provider, "refusal", string(refusal.Code))
		return nil, state.ReturnTo, refusal
	}
	old := cmp.Or(b.replaced(req), state.Replaces) // the cookie comes along where the provider is on the same site
	grant, err = b.openForIdentity(ctx, identity, nil, old, req)
	return grant, state.ReturnTo, err
}

// redeem uses up the login state and then trades the code.
func (b *Broker) redeem(ctx context.Context, p IdentityProvider, state loginState, cb LoginCallback) (Identity, error) {
	used, err := b.useOnce(ctx, newOnceKey("login", state.State, b.cfg.Clock.Now().Add(2*LoginLife)))
	if err != nil {
		return Identity{}, b.internal(ctx, "using up a login state", err)
	}
	if used {
		return Identity{}, &Error{Code: CodeLoginUsed, Message: "This sign-in was completed before; start again."}
	}
	if cb.Error != "" || cb.Code == "" {
		return Identity{}, &Error{Code: CodeProviderError, Message: "The provider did not sign you in."}
	}
	return p.Exchange(ctx, CodeExchange{
		Code: cb.Code, RedirectURI: state.RedirectURI, Verifier: state.Verifier, Nonce: state.Nonce, Issuer: cb.Issuer,
	})
}

// ExchangeTokens opens a session for tokens that the provider gave to a SPA: once for
// each id token, which has to be proven to be one. Errors: CodeUnknownProvider,
// CodeExchangeDisabled, CodeUpstreamToken, CodeUpstreamExpired, CodeEmailNotVerified,
// CodeProfileTooLarge, CodeProfileInvalid,
// CodeIDTokenUnproven, CodeNonceInvalid, CodeNonceExpired, CodeNonceUsed, CodeTokenUsed,
// CodeUpstreamUnavailable, CodeTooManyAttempts, CodeBusy.
func (b *Broker) ExchangeTokens(ctx context.Context, provider string, tokens UpstreamTokens, req Request) (grant *Grant, err error) {
	p, ok := b.cfg.Providers[provider]
	if !ok {
		return nil, &Error{Code: CodeUnknownProvider, Message: "There is no such sign-in provider."}
	}
	var identity Identity
	var once []onceKey
	ended, err := b.throttleLogin(ctx, req)
	if err == nil {
		defer func() { ended(err) }()
		identity, err = atProvider(b, provider, func() (Identity, error) { return p.VerifyTokens(ctx, tokens) })
	}
	if err == nil {
		once, err = b.proveIDToken(ctx, identity, tokens.NonceCookie)
	}
	if err != nil {
		refusal := b.upstream(ctx, "verifying upstream tokens", err)
		b.audit(ctx, "exchange_failed", req, "provider", provider, "refusal", string(refusal.Code))
		return nil, refusal
	}
	return b.openForIdentity(ctx, identity, once, b.replaced(req), req)
}

// openForIdentity opens a session for the user that the account is linked to, made now if
// there is none.
func (b *Broker) openForIdentity(ctx context.Context, identity Identity, once []onceKey, old *replacedSession, req Request) (*Grant, error) {
	identity.Username = strings.TrimSpace(identity.Username)
	if err := identity.validate(); err != nil {
		b.audit(ctx, "sign_in_failed", req, "provider", identity.Provider, "issuer", identity.Issuer, "subject", fmt.Sprintf("%.255s", identity.Subject),
			"refusal", string(err.Code), "reason", err.Message)
		return nil, err
	}
	uid, linked, err := b.userOf(ctx, identity, once)
	if err != nil {
		refusal := b.internal(ctx, "linking the account", err)
		if refusal.Code == CodeTokenUsed {
			b.audit(ctx, "sign_in_failed", req, "refusal", string(refusal.Code), "provider", identity.Provider, "issuer", identity.Issuer, "subject", identity.Subject)
		}
		return nil, refusal
	}
	if linked {
		b.audit(ctx, "user_linked", req, "uid", uid, "provider", identity.Provider, "issuer", identity.Issuer, "subject", identity.Subject)
	}
	open := session.Open{
		ACR: identity.ACR, AMR: identity.AMR, Provider: identity.Provider, UpstreamSID: identity.UpstreamSID,
		UpstreamIssuer: identity.Issuer, UpstreamSubject: identity.Subject,
		Profile: &session.Profile{Username: identity.Username, Groups: identity.Groups, Attributes: identity.Attributes},
	}
	if !identity.AuthTime.IsZero() {
		open.AuthTime = identity.AuthTime.Unix()
	}
	return b.openSession(ctx, uid, open, once, old, req)
}

// userOf returns the uid that the account is linked to by issuer and subject; a new
// account, and one whose user was removed, gets a new user, which made tells. Of two first
// logins at once one makes the user for both. A login whose once is used makes none
// (CodeTokenUsed): a replay must not bring back a user who was removed.
func (b *Broker) userOf(ctx context.Context, identity Identity, once []onceKey) (uid string, made bool, err error) {
	err = b.retryConflicts(ctx, func() (*store.Change, error) {
		linked, err := b.link(ctx, identity.Issuer, identity.Subject)
		if err != nil || linked.user != nil {
			uid, made = linked.uid, false
			return nil, err
		}
		// The link was read before: where another login used once since then, it also made the link, which is a conflict.
		for _, o := range once {
			if used, err := o.exists(ctx, b.cfg.Store); err != nil {
				return nil, err
			} else if used {
				return nil, &Error{Code: CodeTokenUsed, Message: tokenUsed}
			}
		}
		uid, made = newID().String(), true
		user := session.NewUser(uid, identity.Username, "", identity.Attributes, b.cfg.Clock.Now())
		user.Groups = identity.Groups
		return linked.newUser(user)
	})
	return uid, made, err
}

// upstream is the answer for what a provider refused.
func (b *Broker) upstream(ctx context.Context, doing string, err error) *Error {
	cause := fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.Is(err, ErrExchangeDisabled):
		return &Error{Code: CodeExchangeDisabled, Message: "The exchange of this provider's tokens is off; an operator turns it on with providers.<name>.exchange.", Err: cause}
	case errors.Is(err, ErrUpstreamExpired):
		return &Error{Code: CodeUpstreamExpired, Message: "The provider's token has expired or is too old.", Err: cause}
	case errors.Is(err, ErrEmailNotVerified):
		return &Error{Code: CodeEmailNotVerified, Message: "The e-mail address is not verified.", Err: cause}
	case errors.Is(err, ErrUpstreamUnproven):
		return unproven(cause)
	case errors.Is(err, ErrUpstreamToken):
		return &Error{Code: CodeUpstreamToken, Message: "The provider's tokens are not good ones.", Err: cause}
	case errors.Is(err, ErrUpstreamCode):
		return &Error{Code: CodeProviderError, Message: "The provider did not accept the sign-in code.", Err: cause}
	case errors.Is(err, ErrUpstreamUnavailable):
		return &Error{Code: CodeUpstreamUnavailable, Message: "The sign-in provider does not answer.", RetryAfter: 5 * time.Second, Err: cause}
	default:
		return b.internal(ctx, doing, err)
	}
}
