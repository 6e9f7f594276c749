package enduser_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/throttle"
)

// stuckProvider does not answer until it is released.
type stuckProvider struct {
	brokertest.Provider
	entered chan struct{}
	release chan struct{}
}

func (p *stuckProvider) VerifyTokens(context.Context, broker.UpstreamTokens) (broker.Identity, error) {
	p.entered <- struct{}{}
	<-p.release
	return broker.Identity{}, broker.ErrUpstreamToken
}

// TestAProviderThatHangsBlocksABoundedNumberOfLogins: others are refused, and logins at other
// providers are not affected.
func TestAProviderThatHangsBlocksABoundedNumberOfLogins(t *testing.T) {
	stuck := &stuckProvider{entered: make(chan struct{}), release: make(chan struct{})}
	other := &brokertest.Provider{Identity: broker.Identity{Issuer: "https://other.test", Subject: "1", TokenHash: "t", Proven: true}}
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Providers = map[string]broker.IdentityProvider{"stuck": stuck, "other": other}
	})
	exchange := func(provider string) error {
		_, err := h.ExchangeTokens(t.Context(), provider, broker.UpstreamTokens{}, brokertest.Request)
		return err
	}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { _ = exchange("stuck") })
		<-stuck.entered
	}
	brokertest.WantCode(t, exchange("stuck"), broker.CodeBusy)
	_, err := h.StartLogin(t.Context(), "stuck", "https://broker.test/cb/", "/", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeBusy)
	if err := exchange("other"); err != nil {
		t.Errorf("another provider's login: %v", err)
	}
	close(stuck.release)
	all.Wait()
	if _, err := h.StartLogin(t.Context(), "stuck", "https://broker.test/cb/", "/", brokertest.Request); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// oneAddress returns a throttle's levels that allow burst failures for an address.
func oneAddress(burst int) []throttle.Level {
	return []throttle.Level{{Bits: 32, Burst: burst, Refill: time.Second}}
}

// TestFailedLoginsCountAgainstTheirAddress also checks that failures of the provider count against no address.
func TestFailedLoginsCountAgainstTheirAddress(t *testing.T) {
	const burst = 20 // more than an account's free failures
	p := &brokertest.Provider{Identity: broker.Identity{Issuer: "https://idp.test", Subject: "sub-1", TokenHash: "t1", Proven: true}}
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now, IPv4: oneAddress(burst)})
	})
	p.Err = broker.ErrUpstreamUnavailable
	for range 2 * burst {
		_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeUpstreamUnavailable)
	}
	for i := range burst {
		p.Err = nil
		_, cb := h.BeginLogin(t, p)
		p.Err = broker.ErrUpstreamCode
		if i%2 == 0 {
			_, _, err := h.CompleteLogin(t.Context(), cb, brokertest.Request)
			brokertest.WantCode(t, err, broker.CodeProviderError)
			continue
		}
		p.Err = broker.ErrUpstreamToken
		_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeUpstreamToken)
	}
	p.Err = nil
	_, cb := h.BeginLogin(t, p)
	_, _, err := h.CompleteLogin(t.Context(), cb, brokertest.Request)
	if app := brokertest.WantCode(t, err, broker.CodeTooManyAttempts); app.RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
	_, err = h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeTooManyAttempts)
	if _, _, err := h.CompleteLogin(t.Context(), cb, broker.Request{Addr: "192.0.2.9", ID: "r2"}); err != nil {
		t.Errorf("the same state from another address, never used up: %v", err)
	}
}

// TestInvalidCodesFromManyNetworksAreBounded: of the codes from the 65,536 networks of one /48, only as many reach the
// provider's token endpoint as the /48 may have failures, whether the callers wait or leave.
func TestInvalidCodesFromManyNetworksAreBounded(t *testing.T) {
	for name, leave := range map[string]bool{"refused by the provider": false, "left by the caller": true} {
		t.Run(name, func(t *testing.T) {
			p := &countedProvider{}
			h := brokertest.Start(t, func(c *brokertest.Config) {
				c.Providers = map[string]broker.IdentityProvider{"cognito": p}
				c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now})
			})
			throttled := 0
			for i := range 500 {
				p.Err = nil
				_, cb := h.BeginLogin(t, &p.Provider)
				ctx, cancel := context.WithCancel(t.Context())
				p.exchanging, p.Err = func() {}, broker.ErrUpstreamCode
				if leave {
					p.exchanging, p.Err = cancel, broker.ErrUpstreamUnavailable
				}
				_, _, err := h.CompleteLogin(ctx, cb, broker.Request{Addr: fmt.Sprintf("2001:db8:0:%x::1", i*131), ID: "r1"})
				cancel()
				var refused *broker.Error
				if errors.As(err, &refused) && refused.Code == broker.CodeTooManyAttempts {
					throttled++
				}
			}
			if p.exchanges != 100 || throttled != 400 {
				t.Errorf("%d codes reached the provider, %d were throttled; want 100 and 400", p.exchanges, throttled)
			}
		})
	}
}

// countedProvider counts exchanges of a code.
type countedProvider struct {
	brokertest.Provider
	exchanging func()
	exchanges  int
}

func (p *countedProvider) Exchange(ctx context.Context, x broker.CodeExchange) (broker.Identity, error) {
	p.exchanges++
	p.exchanging()
	return p.Provider.Exchange(ctx, x)
}

// TestFailedLoginsEvictNoFailuresOfAccounts: the throttle keeps the failures of passwords.
func TestFailedLoginsEvictNoFailuresOfAccounts(t *testing.T) {
	p := &brokertest.Provider{Err: broker.ErrUpstreamToken}
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now, Size: 2})
	})
	for range throttle.DefaultFree {
		_, err := h.SignIn(t.Context(), "ada", "a guess", brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
	}
	for range 10 {
		_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeUpstreamToken)
	}
	_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeTooManyAttempts)
}

// TestSuccessfulLoginsAreNotSlowedDown: one address may have any number of them.
func TestSuccessfulLoginsAreNotSlowedDown(t *testing.T) {
	p := &brokertest.Provider{Identity: broker.Identity{Issuer: "https://idp.test", Subject: "sub-1", Proven: true}}
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now, IPv4: oneAddress(2)})
	})
	for i := range 10 {
		p.Identity.TokenHash = strconv.Itoa(i)
		if _, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request); err != nil {
			t.Fatalf("login %d: %v", i, err)
		}
	}
}

// TestLoginsInTheAuditLog: the user created for an account, and the code of every refusal.
func TestLoginsInTheAuditLog(t *testing.T) {
	h, p := brokertest.Federated(t)
	_, cb := h.BeginLogin(t, p)
	grant, _, err := h.CompleteLogin(t.Context(), cb, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	_, again := h.BeginLogin(t, p)
	if _, _, err := h.CompleteLogin(t.Context(), again, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	_, _, _ = h.CompleteLogin(t.Context(), cb, brokertest.Request)
	p.Err = broker.ErrUpstreamExpired
	_, _ = h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
	for want, times := range map[string]int{
		" uid=" + grant.UID + " sid=" + grant.SID + ` client=demo-spa acr="" provider=cognito issuer=https://idp.test subject=sub-1`:  1,
		"event=user_linked addr=127.0.0.1 request_id=r1 uid=" + grant.UID + " provider=cognito issuer=https://idp.test subject=sub-1": 1,
		"event=login_failed addr=127.0.0.1 request_id=r1 provider=cognito refusal=login_already_used":                                 1,
		"event=exchange_failed addr=127.0.0.1 request_id=r1 provider=cognito refusal=upstream_token_expired":                          1,
	} {
		if n := strings.Count(h.Log.String(), want); n != times {
			t.Errorf("%d times %q in\n%s", n, want, h.Log.String())
		}
	}
}

// TestADisabledUserIsRefusedAsDisabled checks the refusal after the provider has authenticated the user.
func TestADisabledUserIsRefusedAsDisabled(t *testing.T) {
	h, p := brokertest.Federated(t)
	grant, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.DisableUser(t.Context(), grant.UID, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	_, cb := h.BeginLogin(t, p)
	_, _, err = h.CompleteLogin(t.Context(), cb, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeUserDisabled)
	if want := "event=sign_in_failed addr=127.0.0.1 request_id=r1 uid=" + grant.UID + " refusal=user_disabled provider=cognito"; !strings.Contains(h.Log.String(), want) {
		t.Errorf("no %q in\n%s", want, h.Log.String())
	}
}
