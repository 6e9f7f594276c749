package interop

import (
	"context"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// TestKubernetesAuthenticatesTheIDToken gives the id token of a code flow, as kubectl's plug-ins send it, to the authenticator of
// kube-apiserver.
func TestKubernetesAuthenticatesTheIDToken(t *testing.T) {
	const callback = "http://127.0.0.1:8000/callback"
	s := startServer(t, `
  kubectl:
    public: true
    name: kubectl
    grants: [authorization_code, refresh_token]
    redirect_uris: ["http://127.0.0.1/callback"]
    scopes: [openid, profile, email, groups, offline_access]
`)
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, s.client)
	config := oauth2.Config{
		ClientID: "kubectl", RedirectURL: callback, Scopes: []string{"openid", "profile", "groups", "offline_access"},
		Endpoint: oauth2.Endpoint{AuthURL: s.issuer + "/auth/authorize", TokenURL: s.issuer + "/oauth2/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	to := newBrowser(t, s, callback).authorize(t, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	tokens, err := config.Exchange(ctx, to.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	// A plug-in refreshes when the id token has expired, and needs another one.
	renewed, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}

	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("issuer", s.ca)
	if err != nil {
		t.Fatal(err)
	}
	authenticator, err := oidc.New(t.Context(), oidc.Options{
		JWTAuthenticator: guideAuthenticator(t, s.issuer), CAContentProvider: ca, SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(),
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the authenticator has read the keys", func() bool { return authenticator.HealthCheck() == nil })
	for _, issued := range []*oauth2.Token{tokens, renewed} {
		idToken, _ := issued.Extra("id_token").(string)
		response, ok, err := authenticator.AuthenticateToken(t.Context(), idToken)
		if err != nil || !ok {
			t.Fatalf("kube-apiserver refuses the id token: %v %v", ok, err)
		}
		if name := response.User.GetName(); name != "oidc:"+userName {
			t.Errorf("the user is %q", name)
		}
		if _, ok, err := authenticator.AuthenticateToken(t.Context(), issued.AccessToken); ok && err == nil {
			t.Error("kube-apiserver accepts an access token for an id token")
		}
	}
	if slices.Equal([]byte(tokens.AccessToken), []byte(renewed.AccessToken)) {
		t.Error("the refresh returned the same token")
	}
}

// guideAuthenticator returns the authenticator of docs/guides/kubectl.md's file for the API server, as the API server reads it.
func guideAuthenticator(t *testing.T, issuer string) apiserver.JWTAuthenticator {
	t.Helper()
	scheme := runtime.NewScheme()
	install.Install(scheme)
	file := strings.ReplaceAll(guideBlock(t, "kubectl.md", "yaml authentication.yaml"), "https://auth.example.com", issuer)
	decoded, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	config, ok := decoded.(*apiserver.AuthenticationConfiguration)
	if !ok || len(config.JWT) != 1 {
		t.Fatalf("the guide's file is a %T", decoded)
	}
	return config.JWT[0]
}
