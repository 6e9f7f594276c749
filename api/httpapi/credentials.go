package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/internal/basicauth"
)

// Clients authenticates OAuth clients, for every endpoint. A client that only named itself has Public set; an endpoint for
// confidential clients calls [Confidential].
type Clients interface {
	AuthenticateClient(ctx context.Context, c broker.ClientCredentials, req broker.Request) (broker.ClientInfo, error)
}

// Confidential authenticates a client and refuses a public one.
func Confidential(r *http.Request, clients Clients, c broker.ClientCredentials) (broker.ClientInfo, error) {
	info, err := clients.AuthenticateClient(r.Context(), c, BrokerRequest(r))
	if err == nil && info.Public {
		return broker.ClientInfo{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "A public client cannot use this endpoint."}
	}
	return info, err
}

// BasicCredentials reads the id and the secret of a client from the Authorization header.
func BasicCredentials(r *http.Request) (broker.ClientCredentials, error) {
	id, secrets, ok := basicauth.Read(r)
	if !ok {
		return broker.ClientCredentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "the client's id and secret are missing; send them by Basic authentication, in one Authorization header"}
	}
	return broker.ClientCredentials{ID: id, Secrets: secrets}, nil
}

// ClientCredentials reads the credentials of a client from the Authorization header or from a form without repeated parameters:
// client_id, client_secret, client_assertion and client_assertion_type. A client uses one method and not two (RFC 6749 §2.3).
func ClientCredentials(r *http.Request, form url.Values) (broker.ClientCredentials, error) {
	inForm := broker.ClientCredentials{
		ID: form.Get("client_id"), Secrets: form["client_secret"],
		Assertion: form.Get("client_assertion"), AssertionType: form.Get("client_assertion_type"),
	}
	headers := len(r.Header.Values("Authorization"))
	switch {
	case headers == 0:
		return inForm, nil
	case headers > 1, form.Has("client_secret"), form.Has("client_assertion"), form.Has("client_assertion_type"):
		return broker.ClientCredentials{}, &broker.Error{Code: broker.CodeInvalidRequest, Message: "the client authenticates by more than one method; use one"}
	}
	c, err := BasicCredentials(r)
	if err == nil && form.Has("client_id") && inForm.ID != c.ID {
		return broker.ClientCredentials{}, &broker.Error{Code: broker.CodeInvalidRequest, Message: "client_id differs from the client that authenticates by Basic"}
	}
	return c, err
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
