package peers_test

import (
	"context"
	"testing"
)

// verdict is what each contestant must return for a valid token. It shows that the contestant read
// the claims.
type verdict struct {
	subject, scope string
}

// validate checks the signature, algorithm, iss, aud and exp of a token.
type validate func(ctx context.Context, token string) (verdict, error)

// contestant is a way to validate tokens, set up for one issuer.
type contestant struct {
	name string
	// remembers is true if a token that was validated before costs less.
	remembers bool
	build     func(tb testing.TB, m *mint) validate
}

// peers are the libraries, each used as its documentation describes, with the issuer's key in
// memory.
var peers = []contestant{
	{name: "golang-jwt", build: golangJWT},
	{name: "go-jose", build: goJOSE},
	{name: "go-oidc", build: goOIDC},
	{name: "jwx", build: jwx},
	{name: "zitadel-oidc", build: zitadelOIDC},
	{name: "auth0-middleware", build: auth0Middleware},
}

// firstSight are the contestants for tokens that were not validated before, and seenBefore those
// for tokens that were.
var (
	firstSight = append([]contestant{{name: "ours", build: oursForgetful}}, peers...)
	seenBefore = append([]contestant{
		{name: "ours", remembers: true, build: ours},
		{name: "golang-jwt-and-map", remembers: true, build: rememberedGolangJWT},
	}, peers...)
)
