package enduser_test

import (
	"context"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
)

// outdatable is a keyring that is outdated while err is set. It then knows only an older secret, and Keys
// is not called.
type outdatable struct {
	brokertest.Secrets
	brokertest.Signer
	t    *testing.T
	err  error
	sign error
}

func (o *outdatable) Outdated() error { return o.err }

func (o *outdatable) Keys(purpose string) [][]byte {
	if o.err != nil {
		o.t.Errorf("a token is checked or made under the keys of %s", purpose)
	}
	return o.Secrets.Keys(purpose)
}

func (o *outdatable) SignAccessToken(ctx context.Context, claims []byte) (string, error) {
	if o.sign != nil {
		return "", o.sign
	}
	return o.Signer.SignAccessToken(ctx, claims)
}

func TestOutdatedKeysRefuseTokensAsUnavailable(t *testing.T) {
	keys := &outdatable{t: t}
	h, p := brokertest.Federated(t, func(c *brokertest.Config) { c.Secrets, c.Signer = keys, keys })
	grant := h.MustSignIn(t)
	_, callback := h.BeginLogin(t, p)
	keys.err = &broker.Error{Code: broker.CodeUnavailable}
	for name, use := range map[string]func() error{
		"SignIn": func() error {
			_, err := h.SignIn(t.Context(), "ada", "lovelace", brokertest.Request)
			return err
		},
		"Refresh": func() error {
			_, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
			return err
		},
		"Session": func() error {
			_, err := h.Session(t.Context(), grant.RefreshToken, brokertest.Request)
			return err
		},
		"LogOff": func() error {
			_, err := h.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
			return err
		},
		"StartLogin": func() error {
			_, err := h.StartLogin(t.Context(), "cognito", "http://issuer.test/auth/callback/cognito", "/", brokertest.Request)
			return err
		},
		"CompleteLogin": func() error {
			_, returnTo, err := h.CompleteLogin(t.Context(), callback, brokertest.Request)
			if returnTo != "" {
				t.Errorf("the browser is sent back to %s", returnTo)
			}
			return err
		},
		"ExchangeTokens": func() error {
			_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, brokertest.Request)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { brokertest.WantCode(t, use(), broker.CodeUnavailable) })
	}

	keys.err = nil
	if live := h.Live(t); len(live) != 1 {
		t.Errorf("%d sessions, want the one of before", len(live))
	}
	h.Rotate(t, grant, brokertest.Request)
	if _, _, err := h.CompleteLogin(t.Context(), callback, brokertest.Request); err != nil {
		t.Errorf("the login cannot be completed later: %v", err)
	}
}

// The keys become outdated between the commit of a step and its signature.
func TestOutdatedSignerReturnsTheRefreshToken(t *testing.T) {
	keys := &outdatable{t: t}
	h := brokertest.Start(t, func(c *brokertest.Config) { c.Signer = keys })
	grant := h.MustSignIn(t)
	keys.sign = &broker.Error{Code: broker.CodeUnavailable}
	next, err := h.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeUnavailable)
	if next == nil || next.RefreshToken == grant.RefreshToken || next.AccessToken != "" {
		t.Fatalf("grant = %+v, want the new refresh token and no access token", next)
	}
	keys.sign = nil
	h.Rotate(t, next, brokertest.Request)
}
