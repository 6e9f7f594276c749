package broker

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"
)

// upstreamCalls is how many logins may ask one provider at once: each can wait for it until
// its time-out. Those beyond are CodeBusy.
const upstreamCalls = 64

// upstreamGates has a gate for each provider: one that hangs must not take the others' places.
func upstreamGates(providers map[string]IdentityProvider) map[string]*semaphore.Weighted {
	gates := make(map[string]*semaphore.Weighted, len(providers))
	for name := range providers {
		gates[name] = semaphore.NewWeighted(upstreamCalls)
	}
	return gates
}

// atProvider asks the provider of that name, unless too many do already.
func atProvider[T any](b *Broker, name string, ask func() (T, error)) (T, error) {
	gate := b.upstreams[name]
	if !gate.TryAcquire(1) {
		var none T
		return none, &Error{Code: CodeBusy, Message: "Too many sign-ins wait for the provider; try again.", RetryAfter: time.Second}
	}
	defer gate.Release(1)
	return ask()
}

// throttleLogin charges a federated login to its address, and to no account: whose it is
// will be known when it is proved, and nothing about it can be guessed. ended has to be
// called with the login's error, once. The error is CodeTooManyAttempts. A login whose caller
// leaves is charged: otherwise bogus codes would reach the provider without bound.
func (b *Broker) throttleLogin(ctx context.Context, req Request) (ended func(error), err error) {
	const account = "" // none: an entry for each would push those of passwords out
	if wait, ok := b.cfg.Throttle.Allow(account, req.Addr); !ok {
		return nil, &Error{Code: CodeTooManyAttempts, Message: "Too many attempts; try again later.", RetryAfter: wait}
	}
	return func(err error) {
		var refused *Error
		switch {
		case err == nil:
			b.cfg.Throttle.Succeeded(account, req.Addr)
		case errors.As(err, &refused) && refused.byCaller():
			b.cfg.Throttle.Failed(account, req.Addr)
		case errors.Is(ctx.Err(), context.Canceled): // the provider may have been asked
			b.cfg.Throttle.Abandoned(account, req.Addr)
		default:
			b.cfg.Throttle.Refund(account, req.Addr)
		}
	}, nil
}

// byCaller tells what a caller did wrong from the broker's and the providers' own trouble.
func (e *Error) byCaller() bool {
	switch e.Code {
	case CodeLoginUsed, CodeProviderError, CodeUpstreamToken, CodeUpstreamExpired, CodeEmailNotVerified, CodeTokenUsed,
		CodeIDTokenUnproven, CodeNonceInvalid, CodeNonceExpired, CodeNonceUsed, CodeUserDisabled, CodeInvalidCredentials:
		return true
	}
	return false
}
