package oauthclient_test

import (
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/oauthclient"
)

// FuzzAuthorizationRequest sends requests with any parameters: each is refused on a page or answered at the redirect URI of the
// client, and a code is never for more than the client may have.
func FuzzAuthorizationRequest(f *testing.F) {
	for _, params := range []url.Values{
		request("narrow"), request("narrow", "prompt", "none", "max_age", "1"), request("narrow", "resource", "urn:other"), request("web", "claims", `{"id_token":{"acr":{"essential":true,"values":["a"]}}}`),
		request("narrow", "response_mode", "form_post"), request("gone"), request("narrow", "redirect_uri", "https://web.test/callback/.."), request("narrow", "claims", `{"userinfo":{"email":{"value":"x"}}}`),
	} {
		f.Add(params.Encode())
	}
	var a *authorizer
	var grant *broker.Grant
	f.Fuzz(func(t *testing.T, query string) {
		params, err := url.ParseQuery(query)
		if err != nil {
			t.Skip()
		}
		if a == nil {
			a = newAuthorizer(t, func(c *oauthclient.Config) { c.Logger = slog.New(slog.DiscardHandler) })
			grant = a.MustSignIn(t)
		}
		got, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: params, RefreshToken: grant.RefreshToken}, brokertest.Request)
		if err != nil {
			brokertest.WantCode(t, err, broker.CodeInvalidRedirect)
			return
		}
		if len(params["redirect_uri"]) != 1 || got.RedirectURI != params.Get("redirect_uri") || got.RedirectURI != webRedirect && !strings.HasPrefix(got.RedirectURI, "http://127.0.0.1") {
			t.Fatalf("redirect to %q", got.RedirectURI)
		}
		if got.Step != broker.StepRedirect {
			return
		}
		if got.Answer.Has("error") == got.Answer.Has("code") || got.Answer.Get("iss") != "http://issuer.test" {
			t.Fatalf("answer %v", got.Answer)
		}
		if !got.Answer.Has("code") {
			return
		}
		code, _, err := credential.OpenAuthorizationCode(got.Answer.Get("code"), brokertest.Secrets{}, a.Clock.Now())
		if err != nil || len(code.Challenge) != 43 || code.Challenge != params.Get("code_challenge") || params.Get("code_challenge_method") != "S256" {
			t.Fatalf("code %+v, %v", code, err)
		}
		if code.ClientID == "narrow" && slices.ContainsFunc(code.Scopes, func(s string) bool { return !slices.Contains([]string{"openid", "email", "hello:read"}, s) }) {
			t.Fatalf("scopes %v", code.Scopes)
		}
	})
}
