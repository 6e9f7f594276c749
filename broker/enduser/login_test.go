package enduser_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
)

func TestLoginByCode(t *testing.T) {
	h, p := brokertest.Federated(t)
	login, cb := h.BeginLogin(t, p)
	if login.CookieSuffix != broker.LoginCookieSuffix(p.Asked.State) || strings.Contains(login.CookieValue, p.Asked.Verifier) {
		t.Error("the cookie is not named by its state, or shows the verifier")
	}
	grant, returnTo, err := h.CompleteLogin(t.Context(), cb, brokertest.Request)
	if err != nil || returnTo != "/app" {
		t.Fatalf("%q, %v", returnTo, err)
	}
	if p.Got.Verifier != p.Asked.Verifier || p.Got.Nonce != p.Asked.Nonce || p.Got.RedirectURI != p.Asked.RedirectURI {
		t.Error("the exchange did not receive the parameters of the redirect")
	}
	if _, _, err = h.CompleteLogin(t.Context(), cb, brokertest.Request); err == nil {
		t.Fatal("the login state was used twice")
	}
	brokertest.WantCode(t, err, broker.CodeLoginUsed)
	_, second := h.BeginLogin(t, p)
	again, _, err := h.CompleteLogin(t.Context(), second, brokertest.Request)
	if err != nil || again.UID != grant.UID {
		t.Errorf("the same account belongs to another user: %v", err)
	}
	if groups, _ := again.User["groups"].([]string); len(groups) != 1 || groups[0] != "staff" {
		t.Errorf("groups %v", again.User["groups"])
	}
}

func TestLoginRefusals(t *testing.T) {
	h, p := brokertest.Federated(t)
	_, good := h.BeginLogin(t, p)
	_, other := h.BeginLogin(t, p)
	for name, change := range map[string]func(*broker.LoginCallback){
		"no cookie":                func(cb *broker.LoginCallback) { cb.Cookie = "" },
		"another attempt's cookie": func(cb *broker.LoginCallback) { cb.Cookie = other.Cookie },
		"a damaged cookie": func(cb *broker.LoginCallback) {
			other := "A"
			if cb.Cookie[20] == 'A' {
				other = "B"
			}
			cb.Cookie = cb.Cookie[:20] + other + cb.Cookie[21:]
		},
		"another state":           func(cb *broker.LoginCallback) { cb.State = other.State },
		"no state":                func(cb *broker.LoginCallback) { cb.State = "" },
		"another provider's path": func(cb *broker.LoginCallback) { cb.Provider = "google" },
	} {
		t.Run(name, func(t *testing.T) {
			cb := good
			change(&cb)
			_, _, err := h.CompleteLogin(t.Context(), cb, brokertest.Request)
			brokertest.WantCode(t, err, broker.CodeLoginState)
		})
	}
	h.Clock.Advance(broker.LoginLife)
	_, _, err := h.CompleteLogin(t.Context(), good, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeLoginState)
}

func TestAFailingProviderOpensNoSession(t *testing.T) {
	h, p := brokertest.Federated(t)
	for sentinel, code := range map[error]broker.Code{
		broker.ErrUpstreamToken: broker.CodeUpstreamToken, broker.ErrUpstreamExpired: broker.CodeUpstreamExpired,
		broker.ErrEmailNotVerified: broker.CodeEmailNotVerified, broker.ErrUpstreamCode: broker.CodeProviderError,
		broker.ErrExchangeDisabled: broker.CodeExchangeDisabled, broker.ErrUpstreamUnproven: broker.CodeIDTokenUnproven,
		broker.ErrUpstreamUnavailable: broker.CodeUpstreamUnavailable, errors.New("other"): broker.CodeInternal,
	} {
		p.Err = nil
		_, cb := h.BeginLogin(t, p)
		p.Err = sentinel
		_, returnTo, err := h.CompleteLogin(t.Context(), cb, brokertest.Request)
		brokertest.WantCode(t, err, code)
		if returnTo != "/app" {
			t.Error("the error has no return_to")
		}
		_, err = h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
		brokertest.WantCode(t, err, code)
	}
	if links, err := h.Store.List(t.Context(), "identity.", "", 10); err != nil || len(links) != 1 { // of the harness's own user
		t.Errorf("%d accounts, %v", len(links), err)
	}
}

func TestAnIDTokenIsExchangedOnce(t *testing.T) {
	h, _ := brokertest.Federated(t)
	results := make(chan error, 16)
	var wg sync.WaitGroup
	for range cap(results) {
		wg.Go(func() {
			_, err := h.ExchangeTokens(context.Background(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		if err == nil {
			won++
			continue
		}
		brokertest.WantCode(t, err, broker.CodeTokenUsed)
	}
	if won != 1 {
		t.Errorf("%d sessions for one id token", won)
	}
}

// TestAReplayDoesNotRecreateARemovedUser: nothing is stored for it.
func TestAReplayDoesNotRecreateARemovedUser(t *testing.T) {
	h, p := brokertest.Federated(t)
	exchange := func() (*broker.Grant, error) {
		return h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
	}
	count := func() (n int) {
		for _, prefix := range []string{"user.", "identity."} {
			records, err := h.Store.List(t.Context(), prefix, "", 10)
			if err != nil {
				t.Fatal(err)
			}
			n += len(records)
		}
		return n
	}
	before := count()
	grant, err := exchange()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.RemoveUser(t.Context(), grant.UID, brokertest.Request); err != nil {
		t.Fatal(err)
	}
	_, err = exchange()
	brokertest.WantCode(t, err, broker.CodeTokenUsed)
	if n := count(); n != before {
		t.Errorf("%d records of users and accounts after the replay, want the %d from before", n, before)
	}
	if !strings.Contains(h.Log.String(), `refusal=token_already_used`) {
		t.Error("the replay left no audit line")
	}
	p.Identity.TokenHash = "another"
	if _, err := exchange(); err != nil {
		t.Errorf("with another token: %v", err)
	}
}

func TestAccountsLinkOnlyByIssuerAndSubject(t *testing.T) {
	h, p := brokertest.Federated(t)
	uids := map[string]bool{}
	for i, account := range [][2]string{{"https://idp.test", "a"}, {"https://idp.test", "b"}, {"https://other.test", "a"}} {
		p.Identity.Issuer, p.Identity.Subject, p.Identity.TokenHash = account[0], account[1], strings.Repeat("x", i+1)
		grant, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
		if err != nil {
			t.Fatal(err)
		}
		uids[grant.UID] = true
	}
	if len(uids) != 3 {
		t.Errorf("three accounts with one e-mail are %d users", len(uids))
	}
}

// TestTheLoginStateFitsACookie checks every allowed character in return_to.
func TestTheLoginStateFitsACookie(t *testing.T) {
	h, p := brokertest.Federated(t)
	req := brokertest.Request
	req.RefreshToken = h.MustSignIn(t).RefreshToken
	for _, char := range []string{"&", "<", `"`, "a"} {
		returnTo := "/" + strings.Repeat(char, 511)
		login, err := h.StartLogin(t.Context(), "cognito", "https://broker.test/auth/callback/cognito/", returnTo, req)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(login.CookieValue); n > 3000 {
			t.Errorf("return_to of %s makes a cookie of %d bytes", char, n)
		}
		_, got, err := h.CompleteLogin(t.Context(), broker.LoginCallback{Provider: "cognito", Code: "c1", State: p.Asked.State, Cookie: login.CookieValue}, brokertest.Request)
		if err != nil || got != returnTo {
			t.Errorf("was returned as %q, %v", got, err)
		}
	}
}

// TestTheLogOutPageHasItsOwnTimeout: the wait for a pending broadcast does not shorten it.
func TestTheLogOutPageHasItsOwnTimeout(t *testing.T) {
	p := &brokertest.Provider{Identity: broker.Identity{Provider: "cognito", Issuer: "https://idp.test", Subject: "sub-1", TokenHash: "t1", Proven: true}}
	h := brokertest.Start(t, func(c *brokertest.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Broadcast = stuckBroadcast{}
	})
	var left time.Duration
	p.Logout = func(ctx context.Context) string {
		end, _ := ctx.Deadline()
		left = time.Until(end)
		if ctx.Err() != nil {
			return ""
		}
		return "https://idp.test/logout"
	}
	grant, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
	if err != nil {
		t.Fatal(err)
	}
	off, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	if err != nil || off.Broadcast || off.LogoutURL != "https://idp.test/logout" || off.Provider != "cognito" || left < 500*time.Millisecond || left > time.Second {
		t.Errorf("%+v, %v, with %v left", off, err, left)
	}
}

// stuckBroadcast sends nothing.
type stuckBroadcast struct{}

func (stuckBroadcast) Flushed(ctx context.Context, _ string, _ uint64) bool {
	<-ctx.Done()
	return false
}

func TestLoginPassesTheHintsToTheProvider(t *testing.T) {
	h, p := brokertest.Federated(t)
	req := brokertest.Request
	req.Hints = broker.LoginHints{Prompt: "login", MaxAge: "60", LoginHint: "ada", ACRValues: "mfa"}
	if _, err := h.StartLogin(t.Context(), "cognito", "https://broker.test/auth/callback/cognito/", "/app", req); err != nil {
		t.Fatal(err)
	}
	if p.Asked.Hints != req.Hints {
		t.Errorf("hints %+v", p.Asked.Hints)
	}
}
