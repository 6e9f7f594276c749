package peers_test

import (
	"context"
	"testing"
)

// verdict is what each contestant has to find out about a good token: it proves that the
// claims were read as well.
type verdict struct {
	subject, scope string
}

// validate checks signature, algorithm, iss, aud and exp of a token.
type validate func(ctx context.Context, token string) (verdict, error)

// contestant is a way to validate tokens, set up for one issuer.
type contestant struct {
	name string
	// remembers is set when a token that was seen before costs less.
	remembers bool
	build     func(tb testing.TB, m *mint) validate
}

// peers are the libraries, each used as its own documentation has it, with the issuer's key
// in memory.
var peers = []contestant{
	{name: "golang-jwt", build: golangJWT},
	{name: "go-jose", build: goJOSE},
	{name: "go-oidc", build: goOIDC},
	{name: "jwx", build: jwx},
	{name: "zitadel-oidc", build: zitadelOIDC},
	{name: "auth0-middleware", build: auth0Middleware},
}

// firstSight are the contestants for tokens that were not seen before, and seenBefore for those
// that were validated already.
var (
	firstSight = append([]contestant{{name: "ours", build: oursForgetful}}, peers...)
	seenBefore = append([]contestant{
		{name: "ours", remembers: true, build: ours},
		{name: "golang-jwt-and-map", remembers: true, build: rememberedGolangJWT},
	}, peers...)
)
