package api

import (
	"net/http"
	"net/url"

	"tokenbroker/broker"
)

// credentials are the id of a client and the secrets that what it sent can mean.
type credentials struct {
	id      string
	secrets []string
}

// basicCredentials reads the id and the secret of a client from the one Authorization header (RFC 7617). RFC 6749
// §2.3.1 wants both form-encoded; curl, nginx and many libraries send them as they are. An id
// is what the encoding leaves as it is, so that it can be decoded where it is encoded. A secret can
// be meant either way: it is taken as it is and, where that differs, decoded.
func basicCredentials(r *http.Request) (credentials, error) {
	id, secret, ok := r.BasicAuth()
	if len(r.Header.Values("Authorization")) != 1 || !ok || id == "" {
		return credentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "want the client's id and secret by Basic authentication, once"}
	}
	if decoded, err := url.QueryUnescape(id); err == nil {
		id = decoded
	}
	secrets := []string{secret}
	if decoded, err := url.QueryUnescape(secret); err == nil && decoded != secret {
		secrets = append(secrets, decoded)
	}
	return credentials{id, secrets}, nil
}

// authenticate returns the id of the client whose credentials they are.
func (s *server) authenticate(r *http.Request, c credentials) (client string, err error) {
	info, err := s.cfg.Clients.AuthenticateClient(r.Context(), c.id, c.secrets...)
	return info.ID, err
}

// authenticateService returns the id of the client that authenticates by Basic.
func (s *server) authenticateService(r *http.Request) (client string, err error) {
	c, err := basicCredentials(r)
	if err != nil {
		return "", err
	}
	return s.authenticate(r, c)
}
