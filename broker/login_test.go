package broker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/broker"
)

// fakeProvider proves whoever its subject says.
type fakeProvider struct {
	mu       sync.Mutex
	identity broker.Identity
	err      error
	got      broker.CodeExchange
	asked    broker.AuthorizeRequest
	logout   func(context.Context) string
}

func (p *fakeProvider) AuthorizeURL(_ context.Context, req broker.AuthorizeRequest) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = req
	return "https://idp.test/authorize?state=" + req.State, p.err
}

func (p *fakeProvider) Exchange(_ context.Context, code broker.CodeExchange) (broker.Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = code
	return p.identity, p.err
}

func (p *fakeProvider) VerifyTokens(context.Context, broker.UpstreamTokens) (broker.Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.identity, p.err
}

func (p *fakeProvider) LogoutURL(ctx context.Context, _ string) string {
	if p.logout == nil {
		return ""
	}
	return p.logout(ctx)
}

func federated(t *testing.T) (*harness, *fakeProvider) {
	p := &fakeProvider{identity: broker.Identity{
		Provider: "cognito", Issuer: "https://idp.test", Subject: "sub-1", Username: "ada", Email: "ada@example.org", Groups: []string{"staff"},
		Attributes: map[string]any{"email": "ada@example.org"}, TokenHash: "t1", Proven: true, ExpiresAt: time.Unix(1_800_003_600, 0),
	}}
	h := start(t, func(c *broker.Config) { c.Providers = map[string]broker.IdentityProvider{"cognito": p} })
	return h, p
}

func (h *harness) startLogin(t *testing.T, p *fakeProvider) (*broker.LoginStart, broker.LoginCallback) {
	t.Helper()
	login, err := h.StartLogin(t.Context(), "cognito", "https://broker.test/auth/callback/cognito/", "/app", request)
	if err != nil {
		t.Fatal(err)
	}
	return login, broker.LoginCallback{Provider: "cognito", Code: "c1", State: p.asked.State, Cookie: login.CookieValue}
}

func TestLoginByCode(t *testing.T) {
	h, p := federated(t)
	login, cb := h.startLogin(t, p)
	if login.CookieSuffix != broker.LoginCookieSuffix(p.asked.State) || strings.Contains(login.CookieValue, p.asked.Verifier) {
		t.Error("the cookie is not named by its state, or shows the verifier")
	}
	grant, returnTo, err := h.CompleteLogin(t.Context(), cb, request)
	if err != nil || returnTo != "/app" {
		t.Fatalf("%q, %v", returnTo, err)
	}
	if p.got.Verifier != p.asked.Verifier || p.got.Nonce != p.asked.Nonce || p.got.RedirectURI != p.asked.RedirectURI {
		t.Error("the exchange was not given what the redirect was made with")
	}
	if _, _, err = h.CompleteLogin(t.Context(), cb, request); err == nil {
		t.Fatal("the login state was used twice")
	}
	wantCode(t, err, broker.CodeLoginUsed)
	_, second := h.startLogin(t, p)
	again, _, err := h.CompleteLogin(t.Context(), second, request)
	if err != nil || again.UID != grant.UID {
		t.Errorf("the same account gave another user: %v", err)
	}
	if groups, _ := again.User["groups"].([]string); len(groups) != 1 || groups[0] != "staff" {
		t.Errorf("groups %v", again.User["groups"])
	}
}

func TestLoginRefusals(t *testing.T) {
	h, p := federated(t)
	_, good := h.startLogin(t, p)
	_, other := h.startLogin(t, p)
	for name, change := range map[string]func(*broker.LoginCallback){
		"no cookie":                func(cb *broker.LoginCallback) { cb.Cookie = "" },
		"another attempt's cookie": func(cb *broker.LoginCallback) { cb.Cookie = other.Cookie },
		"a damaged cookie":         func(cb *broker.LoginCallback) { cb.Cookie = cb.Cookie[:20] + "A" + cb.Cookie[21:] },
		"another state":            func(cb *broker.LoginCallback) { cb.State = other.State },
		"no state":                 func(cb *broker.LoginCallback) { cb.State = "" },
		"another provider's path":  func(cb *broker.LoginCallback) { cb.Provider = "google" },
	} {
		t.Run(name, func(t *testing.T) {
			cb := good
			change(&cb)
			_, _, err := h.CompleteLogin(t.Context(), cb, request)
			wantCode(t, err, broker.CodeLoginState)
		})
	}
	h.clock.advance(broker.LoginLife)
	_, _, err := h.CompleteLogin(t.Context(), good, request)
	wantCode(t, err, broker.CodeLoginState)
}

func TestProviderTroubleOpensNoSession(t *testing.T) {
	h, p := federated(t)
	for sentinel, code := range map[error]broker.Code{
		broker.ErrUpstreamToken: broker.CodeUpstreamToken, broker.ErrUpstreamExpired: broker.CodeUpstreamExpired,
		broker.ErrEmailNotVerified: broker.CodeEmailNotVerified, broker.ErrUpstreamCode: broker.CodeProviderError,
		broker.ErrExchangeDisabled: broker.CodeExchangeDisabled, broker.ErrUpstreamUnproven: broker.CodeIDTokenUnproven,
		broker.ErrUpstreamUnavailable: broker.CodeUpstreamUnavailable, errors.New("other"): broker.CodeInternal,
	} {
		p.err = nil
		_, cb := h.startLogin(t, p)
		p.err = sentinel
		_, returnTo, err := h.CompleteLogin(t.Context(), cb, request)
		wantCode(t, err, code)
		if returnTo != "/app" {
			t.Error("an error loses the way back")
		}
		_, err = h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
		wantCode(t, err, code)
	}
	if links, err := h.store.List(t.Context(), "identity.", "", 10); err != nil || len(links) != 1 { // the harness's own user
		t.Errorf("%d accounts, %v", len(links), err)
	}
}

func TestAnIDTokenIsExchangedOnce(t *testing.T) {
	h, _ := federated(t)
	results := make(chan error, 16)
	var wg sync.WaitGroup
	for range cap(results) {
		wg.Go(func() {
			_, err := h.ExchangeTokens(context.Background(), "cognito", broker.UpstreamTokens{}, request)
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
		wantCode(t, err, broker.CodeTokenUsed)
	}
	if won != 1 {
		t.Errorf("%d sessions for one id token", won)
	}
}

// TestAReplayBringsNoRemovedUserBack: nothing is stored for it.
func TestAReplayBringsNoRemovedUserBack(t *testing.T) {
	h, p := federated(t)
	exchange := func() (*broker.Grant, error) {
		return h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
	}
	count := func() (n int) {
		for _, prefix := range []string{"user.", "identity."} {
			records, err := h.store.List(t.Context(), prefix, "", 10)
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
	if _, err := h.RemoveUser(t.Context(), grant.UID, request); err != nil {
		t.Fatal(err)
	}
	_, err = exchange()
	wantCode(t, err, broker.CodeTokenUsed)
	if n := count(); n != before {
		t.Errorf("%d records of users and accounts after the replay, want the %d from before", n, before)
	}
	if !strings.Contains(h.log.String(), `refusal=token_already_used`) {
		t.Error("no audit line tells of the replay")
	}
	p.identity.TokenHash = "another"
	if _, err := exchange(); err != nil {
		t.Errorf("with another token: %v", err)
	}
}

func TestAccountsLinkByIssuerAndSubjectAlone(t *testing.T) {
	h, p := federated(t)
	uids := map[string]bool{}
	for i, account := range [][2]string{{"https://idp.test", "a"}, {"https://idp.test", "b"}, {"https://other.test", "a"}} {
		p.identity.Issuer, p.identity.Subject, p.identity.TokenHash = account[0], account[1], strings.Repeat("x", i+1)
		grant, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
		if err != nil {
			t.Fatal(err)
		}
		uids[grant.UID] = true
	}
	if len(uids) != 3 {
		t.Errorf("three accounts with one e-mail are %d users", len(uids))
	}
}

// TestTheLoginStateFitsACookie whatever of the allowed characters return_to is made of.
func TestTheLoginStateFitsACookie(t *testing.T) {
	h, p := federated(t)
	req := request
	req.RefreshToken = h.signIn(t).RefreshToken
	for _, char := range []string{"&", "<", `"`, "a"} {
		returnTo := "/" + strings.Repeat(char, 511)
		login, err := h.StartLogin(t.Context(), "cognito", "https://broker.test/auth/callback/cognito/", returnTo, req)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(login.CookieValue); n > 3000 {
			t.Errorf("return_to of %s makes a cookie of %d bytes", char, n)
		}
		_, got, err := h.CompleteLogin(t.Context(), broker.LoginCallback{Provider: "cognito", Code: "c1", State: p.asked.State, Cookie: login.CookieValue}, request)
		if err != nil || got != returnTo {
			t.Errorf("came back as %q, %v", got, err)
		}
	}
}

// TestTheLogOutPageHasTimeOfItsOwn: a broadcast that is pending leaves it none of 250 ms.
func TestTheLogOutPageHasTimeOfItsOwn(t *testing.T) {
	p := &fakeProvider{identity: broker.Identity{Provider: "cognito", Issuer: "https://idp.test", Subject: "sub-1", TokenHash: "t1", Proven: true}}
	h := start(t, func(c *broker.Config) {
		c.Providers = map[string]broker.IdentityProvider{"cognito": p}
		c.Broadcast = stuckBroadcast{}
	})
	var left time.Duration
	p.logout = func(ctx context.Context) string {
		end, _ := ctx.Deadline()
		left = time.Until(end)
		if ctx.Err() != nil {
			return ""
		}
		return "https://idp.test/logout"
	}
	grant, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, request)
	if err != nil {
		t.Fatal(err)
	}
	off, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	if err != nil || off.Broadcast || off.LogoutURL != "https://idp.test/logout" || left < 500*time.Millisecond || left > time.Second {
		t.Errorf("%+v, %v, with %v left", off, err, left)
	}
}

// stuckBroadcast sends nothing.
type stuckBroadcast struct{}

func (stuckBroadcast) Flushed(ctx context.Context, _ uint64) bool {
	<-ctx.Done()
	return false
}
