package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// maxRegistration is the largest body of a registration in bytes.
const maxRegistration = 16 << 10

// Registrations let clients register themselves. Errors are [*broker.Error] where the caller may know the reason.
type Registrations interface {
	// Register registers a client with that metadata, a JSON object. initialToken is empty if the request has none.
	Register(ctx context.Context, metadata json.RawMessage, initialToken string, req broker.Request) (broker.ClientRegistration, error)
	// Client and Remove read and remove the client whose registration access token is token.
	Client(ctx context.Context, id, token string, req broker.Request) (broker.ClientRegistration, error)
	Remove(ctx context.Context, id, token string, req broker.Request) error
}

// registrationRoutes returns the endpoints of client registration. Pages of every origin may call them: they read no cookie and
// nothing else that a browser adds by itself, so that a page can do no more than a program that has the same tokens.
func (h *Handler) registrationRoutes() []httpapi.Route {
	client := registrationPath + "/:client_id"
	return []httpapi.Route{
		httpapi.Post(registrationPath, h.register).Around(registrationErrors),
		{Methods: []string{http.MethodGet}, Path: client, Endpoint: h.registration, Wrap: registrationErrors},
		{Methods: []string{http.MethodDelete}, Path: client, Endpoint: h.unregister, Wrap: registrationErrors},
	}
}

// IsOpen reports whether path is that of an endpoint that pages of every origin may call, without cookies.
func (h *Handler) IsOpen(path string) bool {
	return h.cfg.Registrations != nil && (path == registrationPath || strings.HasPrefix(path, registrationPath+"/"))
}

// register is POST /oauth2/register (RFC 7591 §3).
func (h *Handler) register(w http.ResponseWriter, r *http.Request) error {
	token := ""
	if len(r.Header.Values("Authorization")) > 0 {
		var err error
		if token, err = registrationToken(r); err != nil {
			return err
		}
	}
	if httpapi.CheckJSON(r) != nil {
		return invalidRequest("the request must have exactly one Content-Type, application/json, and no Content-Encoding; the body must be in UTF-8")
	}
	body, err := httpapi.ReadBody(w, r, maxRegistration)
	if err != nil {
		return err
	}
	if _, err := plainjson.ReadUnambiguous(string(body)); err != nil {
		return &broker.Error{
			Code: broker.CodeInvalidClientMetadata, Message: "the body is not a JSON object in UTF-8 in which each member occurs once", Err: err,
		}
	}
	made, err := h.cfg.Registrations.Register(r.Context(), body, token, httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, h.registrationOf(made))
}

// registration is GET /oauth2/register/:client_id (RFC 7592 §2.1).
func (h *Handler) registration(w http.ResponseWriter, r *http.Request) error {
	id, token, err := registrationAccess(r)
	if err != nil {
		return err
	}
	found, err := h.cfg.Registrations.Client(r.Context(), id, token, httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	found.Token = token // RFC 7592 §3 requires it; the store has only its hash
	return httpapi.WriteJSON(w, http.StatusOK, h.registrationOf(found))
}

// unregister is DELETE /oauth2/register/:client_id (RFC 7592 §2.3).
func (h *Handler) unregister(w http.ResponseWriter, r *http.Request) error {
	id, token, err := registrationAccess(r)
	if err != nil {
		return err
	}
	if err := h.cfg.Registrations.Remove(r.Context(), id, token, httpapi.BrokerRequest(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// registrationOf returns the members of a client information response (RFC 7591 §3.2.1, RFC 7592 §3).
func (h *Handler) registrationOf(c broker.ClientRegistration) map[string]any {
	members := maps.Clone(c.Metadata)
	if members == nil {
		members = map[string]any{}
	}
	members["client_id"], members["client_id_issued_at"] = c.ClientID, c.IssuedAt.Unix()
	members["registration_access_token"] = c.Token
	members["registration_client_uri"] = strings.TrimSuffix(h.site.Issuer, "/") + registrationPath + "/" + c.ClientID
	if c.Secret != "" {
		members["client_secret"], members["client_secret_expires_at"] = c.Secret, 0 // it does not expire
	}
	return members
}

// registeredID matches what the id of a client that registered itself may be.
var registeredID = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// registrationAccess returns the client that a request names and its registration access token. A client that cannot exist is
// refused as one that does not exist (RFC 7592 §2.1).
func registrationAccess(r *http.Request) (id, token string, err error) {
	if token, err = registrationToken(r); err != nil {
		return "", "", err
	}
	if id = r.PathValue("client_id"); !registeredID.MatchString(id) {
		return "", "", &broker.Error{Code: broker.CodeInvalidToken, Message: "the client is unknown, or the registration access token is not its"}
	}
	return id, token, nil
}

// registrationToken returns the bearer token of a request (RFC 6750 §2.1).
func registrationToken(r *http.Request) (string, error) {
	if len(r.Header.Values("Authorization")) > 1 {
		return "", invalidRequest("the request has more than one header Authorization")
	}
	if token := strings.Trim(httpapi.BearerToken(r), " "); token != "" {
		return token, nil
	}
	return "", &broker.Error{Code: broker.CodeInvalidToken, Message: "the header Authorization has no bearer token"}
}

// registrationErrors answers the errors of f in the form of RFC 7591 §3.2.2. A 401 has a challenge (RFC 6750 §3), which names an
// error only if the request had a token.
func registrationErrors(f httpapi.Endpoint) httpapi.Endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Pragma", "no-cache")
		err := f(w, r)
		if err == nil {
			return nil
		}
		e := refusalOf(r, err)
		var refused *broker.Error
		if e.code == oauthUnavailable && errors.As(err, &refused) && refused.Message != "" { // such as that too many clients registered
			e.description = refused.Message
		}
		if e.status == http.StatusUnauthorized {
			challenge := httpapi.ChallengeBearer
			if len(r.Header.Values("Authorization")) > 0 {
				challenge = bearerChallenge(e)
			}
			w.Header().Set("WWW-Authenticate", challenge)
		}
		return writeError(w, r, e)
	}
}
