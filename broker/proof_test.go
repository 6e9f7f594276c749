package broker_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/throttle"
)

// stuckProvider answers when it is released.
type stuckProvider struct {
	fakeProvider
	entered chan struct{}
	release chan struct{}
}

func (p *stuckProvider) VerifyTokens(context.Context, broker.UpstreamTokens) (broker.Identity, error) {
	p.entered <- struct{}{}
	<-p.release
	return broker.Identity{}, broker.ErrUpstreamToken
}

// TestAProviderThatHangsHoldsAHandfulOfLogins, refuses those beyond, and keeps other
// providers' logins free.
func TestAProviderThatHangsHoldsAHandfulOfLogins(t *testing.T) {
	stuck := &stuckProvider{entered: make(chan struct{}), release: make(chan struct{})}
	other := &fakeProvider{identity: broker.Identity{Issuer: "https://other.test", Subject: "1", TokenHash: "t"}}
	h := start(t, func(c *broker.Config) {
		c.Providers = map[string]broker.IdentityProvider{"stuck": stuck, "other": other}
	})
	exchange := func(provider string) error {
		_, err := h.ExchangeTokens(t.Context(), provider, broker.UpstreamTokens{}, request)
		return err
	}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { _ = exchange("stuck") })
		<-stuck.entered
	}
	wantCode(t, exchange("stuck"), broker.CodeBusy)
	_, err := h.StartLogin(t.Context(), "stuck", "https://broker.test/cb/", "/")
	wantCode(t, err, broker.CodeBusy)
	if err := exchange("other"); err != nil {
		t.Errorf("another provider's login: %v", err)
	}
	close(stuck.release)
	all.Wait()
	if _, err := h.StartLogin(t.Context(), "stuck", "https://broker.test/cb/", "/"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestFailedLoginsCountAgainstTheirAddress, and the provider's own trouble against nobody.
func TestFailedLoginsCountAgainstTheirAddress(t *testing.T) {
	const burst = 20 // more than an account's free failures
	p := &fakeProvider{identity: broker.Identity{Issuer: "https://idp.test", Subject: "sub-1", TokenHash: "t1"}}
	h := start(t, func(c *broker.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now, Address: throttle.Address{Burst: burst}})
	})
	p.err = broker.ErrUpstreamUnavailable
	for range 2 * burst {
		_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
		wantCode(t, err, broker.CodeUpstreamUnavailable)
	}
	for i := range burst {
		p.err = nil
		_, cb := h.startLogin(t, p)
		p.err = broker.ErrUpstreamCode
		if i%2 == 0 {
			_, _, err := h.CompleteLogin(t.Context(), cb, request)
			wantCode(t, err, broker.CodeProviderError)
			continue
		}
		p.err = broker.ErrUpstreamToken
		_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
		wantCode(t, err, broker.CodeUpstreamToken)
	}
	p.err = nil
	_, cb := h.startLogin(t, p)
	_, _, err := h.CompleteLogin(t.Context(), cb, request)
	if app := wantCode(t, err, broker.CodeTooManyAttempts); app.RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
	_, err = h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
	wantCode(t, err, broker.CodeTooManyAttempts)
	if _, _, err := h.CompleteLogin(t.Context(), cb, broker.Request{Addr: "192.0.2.9", ID: "r2"}); err != nil {
		t.Errorf("the same state from another address, never used up: %v", err)
	}
}

// TestFailedLoginsLeaveAccountsAlone: none of them makes the throttle forget a password's failures.
func TestFailedLoginsLeaveAccountsAlone(t *testing.T) {
	p := &fakeProvider{err: broker.ErrUpstreamToken}
	h := start(t, func(c *broker.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now, Size: 2})
	})
	for range throttle.DefaultFree {
		_, err := h.SignIn(t.Context(), "ada", "a guess", request)
		wantCode(t, err, broker.CodeInvalidCredentials)
	}
	for range 10 {
		_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
		wantCode(t, err, broker.CodeUpstreamToken)
	}
	_, err := h.SignIn(t.Context(), "ada", "lovelace", request)
	wantCode(t, err, broker.CodeTooManyAttempts)
}

// TestGoodLoginsSlowNobodyDown: as many as like from one address.
func TestGoodLoginsSlowNobodyDown(t *testing.T) {
	p := &fakeProvider{identity: broker.Identity{Issuer: "https://idp.test", Subject: "sub-1"}}
	h := start(t, func(c *broker.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now, Address: throttle.Address{Burst: 2}})
	})
	for i := range 10 {
		p.identity.TokenHash = strconv.Itoa(i)
		if _, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request); err != nil {
			t.Fatalf("login %d: %v", i, err)
		}
	}
}

// TestLoginsInTheAuditLog: who was made for which account, and every refusal by its code.
func TestLoginsInTheAuditLog(t *testing.T) {
	h, p := federated(t)
	_, cb := h.startLogin(t, p)
	grant, _, err := h.CompleteLogin(t.Context(), cb, request)
	if err != nil {
		t.Fatal(err)
	}
	_, again := h.startLogin(t, p)
	if _, _, err := h.CompleteLogin(t.Context(), again, request); err != nil {
		t.Fatal(err)
	}
	_, _, _ = h.CompleteLogin(t.Context(), cb, request)
	p.err = broker.ErrUpstreamExpired
	_, _ = h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
	for want, times := range map[string]int{
		" uid=" + grant.UID + " sid=" + grant.SID + ` client=demo-spa acr="" provider=cognito issuer=https://idp.test subject=sub-1`:  1,
		"event=user_linked addr=127.0.0.1 request_id=r1 uid=" + grant.UID + " provider=cognito issuer=https://idp.test subject=sub-1": 1,
		"event=login_failed addr=127.0.0.1 request_id=r1 provider=cognito refusal=login_already_used":                                 1,
		"event=exchange_failed addr=127.0.0.1 request_id=r1 provider=cognito refusal=upstream_token_expired":                          1,
	} {
		if n := strings.Count(h.log.String(), want); n != times {
			t.Errorf("%d times %q in\n%s", n, want, h.log.String())
		}
	}
}

// TestADisabledUserIsToldSo after the provider proved who they are: nothing is guessed.
func TestADisabledUserIsToldSo(t *testing.T) {
	h, p := federated(t)
	grant, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.DisableUser(t.Context(), grant.UID, request); err != nil {
		t.Fatal(err)
	}
	_, cb := h.startLogin(t, p)
	_, _, err = h.CompleteLogin(t.Context(), cb, request)
	wantCode(t, err, broker.CodeUserDisabled)
	if want := "event=sign_in_failed addr=127.0.0.1 request_id=r1 uid=" + grant.UID + " refusal=user_disabled provider=cognito"; !strings.Contains(h.log.String(), want) {
		t.Errorf("no %q in\n%s", want, h.log.String())
	}
}
