package httpapi

import (
	"context"
	"net/http"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/internal/basicauth"
)

// Clients authenticates services by id and secret. secrets are the readings of the one secret that
// was sent.
type Clients interface {
	AuthenticateClient(ctx context.Context, id string, secrets ...string) (broker.ClientInfo, error)
}

// Credentials are the id of a client and the readings of the one secret that it sent.
type Credentials struct {
	ID      string
	Secrets []string
}

// BasicCredentials reads the id and the secret of a client from the Authorization header.
func BasicCredentials(r *http.Request) (Credentials, error) {
	id, secrets, ok := basicauth.Read(r)
	if !ok {
		return Credentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "the client's id and secret are missing; send them by Basic authentication, in one Authorization header"}
	}
	return Credentials{id, secrets}, nil
}

// BearerToken returns the token of the request's only Authorization header (RFC 6750 §2.1), or "" if
// the header is missing, occurs more than once, or has another scheme.
func BearerToken(r *http.Request) string {
	sent := r.Header.Values("Authorization")
	if len(sent) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(sent[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
