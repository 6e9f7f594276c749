package enduser

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/throttle"
)

// Providers returns the names of the configured providers, sorted.
func (svc *Service) Providers() []string {
	names := make([]string, 0, len(svc.cfg.Providers))
	for name := range svc.cfg.Providers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// StartLogin starts the code flow with PKCE at a provider. The broker stores nothing: the
// sealed state also names the session of req's refresh token, which CompleteLogin ends.
// The caller has checked returnTo. Errors: CodeUnknownProvider, CodeUpstreamUnavailable,
// CodeBusy.
func (svc *Service) StartLogin(ctx context.Context, provider, redirectURI, returnTo string, req broker.Request) (*broker.LoginStart, error) {
	if err := svc.checkKeys(ctx); err != nil {
		return nil, err
	}
	p, ok := svc.cfg.Providers[provider]
	if !ok {
		return nil, &broker.Error{Code: broker.CodeUnknownProvider, Message: "No sign-in provider of this name is configured."}
	}
	state := credential.LoginState{
		Provider: provider, RedirectURI: redirectURI, ReturnTo: returnTo,
		State: credential.RandomText(), Nonce: credential.RandomText(), Verifier: credential.RandomText(),
		Replaces: svc.priorSession(req),
	}
	to, err := atProvider(svc, provider, func() (string, error) {
		return p.AuthorizeURL(ctx, broker.AuthorizeRequest{
			RedirectURI: redirectURI, State: state.State, Nonce: state.Nonce, Verifier: state.Verifier, Hints: req.Hints,
		})
	})
	if err != nil {
		return nil, svc.upstream(ctx, "starting a login", err)
	}
	cookie, err := state.Seal(svc.cfg.Secrets, svc.cfg.Clock.Now().Add(broker.LoginLife))
	if err != nil {
		return nil, commit.AppError(ctx, "starting a login", err)
	}
	return &broker.LoginStart{RedirectURL: to, CookieSuffix: broker.LoginCookieSuffix(state.State), CookieValue: cookie}, nil
}

// CompleteLogin completes the code flow and opens a session. The login state is marked as used before the
// code is exchanged. If the state could be opened, returnTo is set, also with an
// error. Failures count against the address. Errors: CodeLoginState,
// CodeLoginUsed, CodeProviderError and those of ExchangeTokens.
func (svc *Service) CompleteLogin(ctx context.Context, cb broker.LoginCallback, req broker.Request) (grant *broker.Grant, returnTo string, err error) {
	if err := svc.checkKeys(ctx); err != nil {
		return nil, "", err // not the page to return to: the browser can repeat the callback
	}
	state, err := credential.OpenLoginState(cb.Cookie, svc.cfg.Secrets, svc.cfg.Clock.Now())
	mine := subtle.ConstantTimeCompare([]byte(state.State), []byte(cb.State)) == 1
	if err != nil || !mine || state.Provider != cb.Provider {
		svc.audit.Info(ctx, "login_failed", req, "provider", cb.Provider, "refusal", string(broker.CodeLoginState))
		return nil, "", &broker.Error{Code: broker.CodeLoginState, Message: "This sign-in was not started in this browser, or was started too long ago; start it again."}
	}
	p, ok := svc.cfg.Providers[state.Provider]
	if !ok {
		return nil, state.ReturnTo, &broker.Error{Code: broker.CodeUnknownProvider, Message: "No sign-in provider of this name is configured."}
	}
	var identity broker.Identity
	ended, err := svc.throttleLogin(ctx, req)
	if err == nil {
		defer func() { ended(err) }()
		identity, err = atProvider(svc, state.Provider, func() (broker.Identity, error) { return svc.redeem(ctx, p, state, cb) })
	}
	if err != nil {
		refusal := svc.upstream(ctx, "exchanging the code", err)
		svc.audit.Info(ctx, "login_failed", req, "provider", state.Provider, "refusal", string(refusal.Code))
		return nil, state.ReturnTo, refusal
	}
	prior := cmp.Or(svc.priorSession(req), state.Replaces) // the browser sends the cookie only if the provider is on the same site
	grant, err = svc.openForIdentity(ctx, identity, nil, prior, req)
	return grant, state.ReturnTo, err
}

// redeem marks the login state as used and then exchanges the code.
func (svc *Service) redeem(ctx context.Context, p broker.IdentityProvider, state credential.LoginState, cb broker.LoginCallback) (broker.Identity, error) {
	used, err := svc.path.UseOnce(ctx, commit.NewMark("login", state.State, svc.cfg.Clock.Now().Add(2*broker.LoginLife)))
	if err != nil {
		return broker.Identity{}, commit.AppError(ctx, "marking a login state as used", err)
	}
	if used {
		return broker.Identity{}, &broker.Error{Code: broker.CodeLoginUsed, Message: "This sign-in was completed before; start it again."}
	}
	if cb.Error != "" || cb.Code == "" {
		return broker.Identity{}, &broker.Error{Code: broker.CodeProviderError, Message: "The provider did not sign you in; start the sign-in again."}
	}
	return p.Exchange(ctx, broker.CodeExchange{
		Code: cb.Code, RedirectURI: state.RedirectURI, Verifier: state.Verifier, Nonce: state.Nonce, Issuer: cb.Issuer,
	})
}

// upstreamCalls bounds the logins that call one provider concurrently, since each may wait until
// the provider times out. Others are refused with CodeBusy.
const upstreamCalls = 64

// upstreamGates returns a semaphore for each provider, so that one that hangs does not block the others.
func upstreamGates(providers map[string]broker.IdentityProvider) map[string]*semaphore.Weighted {
	gates := make(map[string]*semaphore.Weighted, len(providers))
	for name := range providers {
		gates[name] = semaphore.NewWeighted(upstreamCalls)
	}
	return gates
}

// atProvider calls the provider of that name, unless too many calls are in progress.
func atProvider[T any](svc *Service, name string, ask func() (T, error)) (T, error) {
	gate := svc.upstreams[name]
	if !gate.TryAcquire(1) {
		var none T
		return none, &broker.Error{Code: broker.CodeBusy, Message: "Too many sign-ins are waiting for the provider; try again.", RetryAfter: time.Second}
	}
	defer gate.Release(1)
	return ask()
}

// throttleLogin charges a federated login to its address, and to no account: the account is not
// known before it is proved, and cannot be guessed. The caller has to call ended once, with the
// login's error. The error is CodeTooManyAttempts. A login whose caller
// leaves is charged, since otherwise invalid codes would reach the provider without bound.
func (svc *Service) throttleLogin(ctx context.Context, req broker.Request) (ended func(error), err error) {
	const account = "" // none: entries for each account would evict those of passwords
	if wait, ok := svc.cfg.Throttle.Allow(account, req.Addr); !ok {
		return nil, &broker.Error{Code: broker.CodeTooManyAttempts, Message: "Too many attempts; try again later.", RetryAfter: wait}
	}
	return func(err error) {
		outcome := throttle.Undecided
		var refusal *broker.Error
		switch {
		case err == nil:
			outcome = throttle.Succeeded
		case errors.As(err, &refusal) && byCaller(refusal.Code):
			outcome = throttle.Failed
		case errors.Is(ctx.Err(), context.Canceled): // the provider may have received the code
			outcome = throttle.Abandoned
		}
		svc.cfg.Throttle.Done(account, req.Addr, outcome)
	}, nil
}

// byCaller reports whether a code is the caller's fault, and not a failure of the broker or the provider.
func byCaller(code broker.Code) bool {
	switch code {
	case broker.CodeLoginUsed, broker.CodeProviderError, broker.CodeUpstreamToken, broker.CodeUpstreamExpired, broker.CodeEmailNotVerified, broker.CodeTokenUsed,
		broker.CodeIDTokenUnproven, broker.CodeNonceInvalid, broker.CodeNonceExpired, broker.CodeNonceUsed, broker.CodeUserDisabled, broker.CodeInvalidCredentials:
		return true
	}
	return false
}
