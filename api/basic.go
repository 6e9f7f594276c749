package api

import (
	"net/http"

	"tokenbroker/broker"
	"tokenbroker/internal/basicauth"
)

// credentials are the id of a client and the secrets that what it sent can mean.
type credentials struct {
	id      string
	secrets []string
}

// basicCredentials reads the id and the secret of a client from the Authorization header.
func basicCredentials(r *http.Request) (credentials, error) {
	id, secrets, ok := basicauth.Read(r)
	if !ok {
		return credentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "want the client's id and secret by Basic authentication, once"}
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
