package httpapi

import (
	"context"
	"net/http"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/internal/basicauth"
)

// Clients authenticates OAuth clients, for every endpoint. The result for a client that only named itself has Public
// set; endpoints for confidential clients refuse it.
type Clients interface {
	AuthenticateClient(ctx context.Context, c broker.ClientCredentials, req broker.Request) (broker.ClientInfo, error)
}

// BasicCredentials reads the id and the secret of a client from the Authorization header.
func BasicCredentials(r *http.Request) (broker.ClientCredentials, error) {
	id, secrets, ok := basicauth.Read(r)
	if !ok {
		return broker.ClientCredentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "the client's id and secret are missing; send them by Basic authentication, in one Authorization header"}
	}
	return broker.ClientCredentials{ID: id, Secrets: secrets}, nil
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
