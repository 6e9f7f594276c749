package brokertest

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/password"
	"tokenbroker/broker/throttle"
	"tokenbroker/store"
)

// Provider proves Identity, or fails with Err. Mu guards its fields.
type Provider struct {
	Mu       sync.Mutex
	Identity broker.Identity
	Err      error
	Got      broker.CodeExchange     // by the latest Exchange
	Asked    broker.AuthorizeRequest // by the latest AuthorizeURL
	Logout   func(context.Context) string
}

// AuthorizeURL implements [broker.IdentityProvider].
func (p *Provider) AuthorizeURL(_ context.Context, req broker.AuthorizeRequest) (string, error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Asked = req
	return "https://idp.test/authorize?state=" + req.State, p.Err
}

// Exchange implements [broker.IdentityProvider].
func (p *Provider) Exchange(_ context.Context, code broker.CodeExchange) (broker.Identity, error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Got = code
	return p.Identity, p.Err
}

// VerifyTokens implements [broker.IdentityProvider].
func (p *Provider) VerifyTokens(context.Context, broker.UpstreamTokens) (broker.Identity, error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return p.Identity, p.Err
}

// Issuers returns the issuer of Identity.
func (p *Provider) Issuers() []string {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return []string{p.Identity.Issuer}
}

// LogoutURL implements [broker.IdentityProvider].
func (p *Provider) LogoutURL(ctx context.Context, _ string) string {
	if p.Logout == nil {
		return ""
	}
	return p.Logout(ctx)
}

// Federated starts a Harness with the provider cognito, whose wiring change may alter.
func Federated(t *testing.T, change ...func(*Config)) (*Harness, *Provider) {
	p := &Provider{Identity: broker.Identity{
		Provider: "cognito", Issuer: "https://idp.test", Subject: "sub-1", Username: "ada", Email: "ada@example.org", Groups: []string{"staff"},
		Attributes: map[string]any{"email": "ada@example.org"}, TokenHash: "t1", Proven: true, ExpiresAt: time.Unix(1_800_003_600, 0),
	}}
	h := Start(t, append(change, func(c *Config) { c.Providers = map[string]broker.IdentityProvider{"cognito": p} })...)
	return h, p
}

// BeginLogin starts a login at the provider and returns the callback that completes it.
func (h *Harness) BeginLogin(t *testing.T, p *Provider) (*broker.LoginStart, broker.LoginCallback) {
	t.Helper()
	login, err := h.StartLogin(t.Context(), "cognito", "https://broker.test/auth/callback/cognito/", "/app", Request)
	if err != nil {
		t.Fatal(err)
	}
	return login, broker.LoginCallback{Provider: "cognito", Code: "c1", State: p.Asked.State, Cookie: login.CookieValue}
}

// Between is a store that calls Do once: between a broker's reading of a session and its commit, or
// before its first write of a record whose key starts with Prefix.
type Between struct {
	store.Store
	Prefix string
	Do     func()
	once   sync.Once
}

// Commit implements [store.Store].
func (b *Between) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	for _, c := range changes {
		for _, w := range c.Writes {
			if strings.HasPrefix(w.Key, cmp.Or(b.Prefix, "session.")) && b.Do != nil {
				b.once.Do(b.Do)
			}
		}
	}
	return b.Store.Commit(ctx, changes, seal)
}

// SlowPasswords counts the checks and keeps each running until it receives from Let.
type SlowPasswords struct {
	Passwords
	Checks atomic.Int32
	Let    chan struct{}
	Failed error // what checks end with
}

// Verify implements [broker.Passwords].
func (p *SlowPasswords) Verify(ctx context.Context, caller password.Caller, attempt, encoded string) (ok, needsRehash bool, err error) {
	p.Checks.Add(1)
	<-p.Let
	if p.Failed != nil {
		return false, false, p.Failed
	}
	return p.Passwords.Verify(ctx, caller, attempt, encoded)
}

// VerifyUnknown implements [broker.Passwords].
func (p *SlowPasswords) VerifyUnknown(context.Context, password.Caller, string) error {
	p.Checks.Add(1)
	<-p.Let
	return p.Failed
}

// Throttled starts a Harness with these passwords and a real throttle.
func Throttled(t *testing.T, passwords *SlowPasswords) *Harness {
	t.Helper()
	return Start(t, func(c *Config) {
		c.Passwords = passwords
		c.Throttle = throttle.New(throttle.Config{Now: c.Clock.Now})
	})
}
