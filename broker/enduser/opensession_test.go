package enduser_test

import (
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/revocation"
)

// TestASignInEndsTheSessionOfItsCookie covers every way to sign in, and sessions of any user and
// generation.
func TestASignInEndsTheSessionOfItsCookie(t *testing.T) {
	for name, signIn := range map[string]func(*testing.T, *brokertest.Harness, *brokertest.Provider, broker.Request) (*broker.Grant, error){
		"password": func(t *testing.T, h *brokertest.Harness, _ *brokertest.Provider, req broker.Request) (*broker.Grant, error) {
			return h.SignIn(t.Context(), "ada", "lovelace", req)
		},
		"exchange": func(t *testing.T, h *brokertest.Harness, _ *brokertest.Provider, req broker.Request) (*broker.Grant, error) {
			return h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{}, req)
		},
		"redirect": func(t *testing.T, h *brokertest.Harness, p *brokertest.Provider, req broker.Request) (*broker.Grant, error) {
			login, err := h.StartLogin(t.Context(), "cognito", "https://broker.test/auth/callback/cognito/", "/app", req)
			if err != nil {
				t.Fatal(err)
			}
			grant, _, err := h.CompleteLogin(t.Context(), broker.LoginCallback{
				Provider: "cognito", Code: "c1", State: p.Asked.State, Cookie: login.CookieValue,
			}, owner) // no refresh cookie, because it is SameSite=Strict
			return grant, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, p := brokertest.Federated(t)
			old, other := h.MustSignIn(t), h.MustSignIn(t)
			current := h.Rotate(t, old, owner)
			req := owner
			req.RefreshToken = old.RefreshToken // a superseded token
			grant, err := signIn(t, h, p, req)
			if err != nil {
				t.Fatal(err)
			}
			_, err = h.Refresh(t.Context(), current.RefreshToken, current.CSRFToken, owner)
			brokertest.WantCode(t, err, broker.CodeSessionEnded)
			if events := h.Ledger.Events(); len(events) != 1 || events[0].Value != old.SID || events[0].Reason != revocation.ReasonLogoff {
				t.Errorf("events: %+v", events)
			}
			if line := "event=session_replaced addr=192.0.2.1 request_id=r1 uid=" + old.UID + " sid=" + old.SID + " by=" + grant.SID; !strings.Contains(h.Log.String(), line) {
				t.Errorf("no audit line %q", line)
			}
			h.Rotate(t, grant, owner)
			h.Rotate(t, other, owner)
		})
	}
}

// TestASignInEndsNoOtherSession: not by a forged cookie, not twice, and not if it fails.
func TestASignInEndsNoOtherSession(t *testing.T) {
	h := brokertest.Start(t)
	old := h.MustSignIn(t)
	req := owner
	for _, forged := range []string{"", "rt1.", old.RefreshToken[:len(old.RefreshToken)-1], old.RefreshToken[:60] + "AAAA" + old.RefreshToken[64:]} {
		req.RefreshToken = forged
		if _, err := h.SignIn(t.Context(), "ada", "lovelace", req); err != nil {
			t.Fatalf("a damaged cookie refuses a sign-in: %v", err)
		}
	}
	req.RefreshToken = old.RefreshToken
	_, err := h.SignIn(t.Context(), "ada", "wrong", req)
	brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
	h.Rotate(t, old, owner)
	if n := len(h.Ledger.Events()); n != 0 {
		t.Fatalf("%d sessions ended", n)
	}
	for range 2 {
		if _, err := h.SignIn(t.Context(), "ada", "lovelace", req); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(h.Ledger.Events()); n != 1 || strings.Count(h.Log.String(), "session_replaced") != 1 {
		t.Errorf("%d events for one end", n)
	}
}
