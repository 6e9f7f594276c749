package httpapi

import (
	"context"
	"net/http"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/internal/basicauth"
)

// Clients authenticates services by id and secret; secrets are what one that was sent can mean.
type Clients interface {
	AuthenticateClient(ctx context.Context, id string, secrets ...string) (broker.ClientInfo, error)
}

// Credentials are the id of a client and the secrets that what it sent can mean.
type Credentials struct {
	ID      string
	Secrets []string
}

// BasicCredentials reads the id and the secret of a client from the Authorization header.
func BasicCredentials(r *http.Request) (Credentials, error) {
	id, secrets, ok := basicauth.Read(r)
	if !ok {
		return Credentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "want the client's id and secret by Basic authentication, once"}
	}
	return Credentials{id, secrets}, nil
}

// BearerToken returns the token of the request's one Authorization header (RFC 6750 §2.1), or nothing if
// there is no such header, if there are several, or if its scheme is another.
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
