package oauth

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/internal/plainjson"
)

// introspect is POST /oauth2/introspect (RFC 7662) for confidential clients, which
// authenticate by Basic or in the form (RFC 6749 §2.3.1). The answer for an invalid token is
// {"active": false} without a reason (§2.2).
func (h *Handler) introspect(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := clientOf(r, form)
	if err != nil {
		return err
	}
	if _, err := h.cfg.Clients.AuthenticateClient(r.Context(), c.ID, c.Secrets...); err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return invalidRequest("token is missing or empty")
	}
	claims, err := h.cfg.Verifier.Verify(r.Context(), token)
	if err != nil {
		switch httpapi.Refusal(r, err).Code {
		case httpapi.CodeTokenExpired, httpapi.CodeTokenRevoked, httpapi.CodeTokenInvalid:
			return httpapi.WriteJSON(w, http.StatusOK, introspection{})
		}
		return err
	}
	if answer, ok := plainIntrospection(string(claims)); ok {
		httpapi.WriteBody(w, http.StatusOK, "application/json", answer)
		return nil
	}
	answer := introspection{Active: true, TokenType: "Bearer"}
	if err := json.Unmarshal(claims, &answer.introspected); err != nil {
		return &oauthError{http.StatusInternalServerError, oauthServerError, "the token's claims cannot be read", err}
	}
	if len(answer.Username) > 0 && answer.Username[0] != '"' {
		answer.Username = nil // a custom claim of the operator, unlike the username of §2.2
	}
	return httpapi.WriteJSON(w, http.StatusOK, answer)
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

// shownClaims are the members of [introspected], in its order.
var shownClaims = []string{
	"iss", "sub", "aud", "client_id", "username", "scope", "exp", "iat", "nbf", "auth_time", "jti", "sid", "sep", "cep",
}

// plainIntrospection encodes an active [introspection] of verified claims as encoding/json does.
// If ok is false, encoding/json has to do it: the claims are not
// plain JSON, or have characters that it escapes.
func plainIntrospection(claims string) (answer []byte, ok bool) {
	var room [24]plainjson.Member
	members, ok := plainjson.ReadPlain(claims, room[:0])
	if !ok || strings.ContainsAny(claims, "<>&") || strings.Contains(claims, "\u2028") || strings.Contains(claims, "\u2029") {
		return nil, false
	}
	var values [14]string
	for _, m := range members {
		i := slices.Index(shownClaims, m.Name)
		switch {
		case i < 0:
			continue
		case m.Value == "null", m.Name == "username" && m.Value[0] != '"':
			return nil, false
		}
		values[i] = m.Value
	}
	answer = append(make([]byte, 0, len(claims)+64), `{"active":true,"token_type":"Bearer"`...)
	for i, value := range values {
		if value != "" {
			answer = append(append(append(answer, `,"`...), shownClaims[i]...), `":`...)
			answer = append(answer, value...)
		}
	}
	return append(answer, '}'), true
}
