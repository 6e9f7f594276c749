package api

import (
	"encoding/json"
	"net/http"
)

// introspect is POST /oauth2/introspect (RFC 7662) for confidential clients, who name
// themselves by Basic or in the form (RFC 6749 §2.3.1). A token that is not good, for
// whatever reason, is {"active": false} and nothing more (§2.2).
func (s *server) introspect(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := clientOf(r, form)
	if err != nil {
		return err
	}
	if _, err := s.authenticate(r, c); err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return invalidRequest("token is missing or empty")
	}
	claims, err := s.cfg.Verifier.Verify(r.Context(), token)
	if err != nil {
		switch refusal(r, err).Code {
		case CodeTokenExpired, CodeTokenRevoked, CodeTokenInvalid:
			return writeJSON(w, http.StatusOK, introspection{})
		}
		return err
	}
	if answer, ok := scanIntrospection(claims); ok {
		writeBody(w, http.StatusOK, "application/json", answer)
		return nil
	}
	answer := introspection{Active: true, TokenType: "Bearer"}
	if err := json.Unmarshal(claims, &answer.introspected); err != nil {
		return &oauthError{http.StatusInternalServerError, oauthServerError, "the token's claims cannot be read", err}
	}
	if len(answer.Username) > 0 && answer.Username[0] != '"' {
		answer.Username = nil // the operators' own claim, and not what §2.2 means by that name
	}
	return writeJSON(w, http.StatusOK, answer)
}

// introspection is the answer of RFC 7662 §2.2.
type introspection struct {
	Active    bool   `json:"active"`
	TokenType string `json:"token_type,omitempty"`
	introspected
}

// introspected are the token's own claims that the answer shows, as they were signed.
type introspected struct {
	Issuer    json.RawMessage `json:"iss,omitempty"`
	Subject   json.RawMessage `json:"sub,omitempty"`
	Audience  json.RawMessage `json:"aud,omitempty"`
	ClientID  json.RawMessage `json:"client_id,omitempty"`
	Username  json.RawMessage `json:"username,omitempty"`
	Scope     json.RawMessage `json:"scope,omitempty"`
	Expires   json.RawMessage `json:"exp,omitempty"`
	IssuedAt  json.RawMessage `json:"iat,omitempty"`
	NotBefore json.RawMessage `json:"nbf,omitempty"`
	AuthTime  json.RawMessage `json:"auth_time,omitempty"`
	ID        json.RawMessage `json:"jti,omitempty"`
	SID       json.RawMessage `json:"sid,omitempty"`
	SEP       json.RawMessage `json:"sep,omitempty"`
	CEP       json.RawMessage `json:"cep,omitempty"`
}
