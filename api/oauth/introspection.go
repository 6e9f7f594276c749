package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// introspect is POST /oauth2/introspect (RFC 7662) for confidential clients. The answer for an invalid token is
// {"active": false} without a reason (§2.2), and so is that for an access token of other audiences than the client's, and for a
// refresh token of another client.
func (h *Handler) introspect(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := credentialsOf(r, form)
	if err != nil {
		return err
	}
	client, err := h.cfg.Clients.AuthenticateClient(r.Context(), c, httpapi.BrokerRequest(r))
	switch {
	case err != nil:
		return err
	case client.Public:
		return &broker.Error{Code: broker.CodeInvalidClient, Err: errors.New("a public client cannot introspect tokens")}
	}
	token := form.Get("token")
	if token == "" {
		return invalidRequest("token is missing or empty")
	}
	if strings.HasPrefix(token, refreshTokenPrefix) {
		return h.introspectRefreshToken(w, r, client.ID, token)
	}
	claims, err := h.cfg.AnyAudience.Verify(r.Context(), token)
	if err != nil {
		switch httpapi.Refusal(r, err).Code {
		case httpapi.CodeTokenExpired, httpapi.CodeTokenRevoked, httpapi.CodeTokenInvalid:
			return httpapi.WriteJSON(w, http.StatusOK, introspection{})
		}
		return err
	}
	if answer, audience, ok := plainIntrospection(string(claims)); ok {
		if !meets(audience, client.Audiences) {
			return httpapi.WriteJSON(w, http.StatusOK, introspection{})
		}
		httpapi.WriteBody(w, http.StatusOK, "application/json", answer)
		return nil
	}
	answer := introspection{Active: true, TokenType: "Bearer"}
	if err := json.Unmarshal(claims, &answer.introspected); err != nil {
		return &oauthError{status: http.StatusInternalServerError, code: oauthServerError, description: "the token's claims cannot be read", cause: err}
	}
	if len(answer.Username) > 0 && answer.Username[0] != '"' {
		answer.Username = nil // a custom claim of the operator, unlike the username of §2.2
	}
	if !meets(string(answer.Audience), client.Audiences) {
		answer = introspection{}
	}
	return httpapi.WriteJSON(w, http.StatusOK, answer)
}

// refreshTokenPrefix begins every refresh token.
const refreshTokenPrefix = "rt1."

// introspectRefreshToken answers about a refresh token.
func (h *Handler) introspectRefreshToken(w http.ResponseWriter, r *http.Request, client, token string) error {
	info, active, err := h.cfg.Clients.IntrospectRefreshToken(r.Context(), client, token)
	switch {
	case err != nil:
		return err
	case !active:
		return httpapi.WriteJSON(w, http.StatusOK, introspection{})
	}
	return httpapi.WriteJSON(w, http.StatusOK, struct {
		Active   bool   `json:"active"`
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		ClientID string `json:"client_id"`
		Scope    string `json:"scope,omitempty"`
		Expires  int64  `json:"exp"`
		IssuedAt int64  `json:"iat"`
		SID      string `json:"sid"`
	}{true, h.site.Issuer, info.Subject, info.ClientID, info.Scope, info.ExpiresAt.Unix(), info.IssuedAt.Unix(), info.SID})
}

// meets reports whether the aud claim, as JSON, names one of the audiences.
func meets(aud string, audiences []string) bool {
	if aud == "" {
		return false
	}
	named, err := plainjson.OneOrMore(aud)
	return err == nil && slices.ContainsFunc(named, func(a string) bool { return slices.Contains(audiences, a) })
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

// plainIntrospection encodes an active [introspection] of verified claims as encoding/json does, and returns their aud as JSON.
// If ok is false, encoding/json has to do it: the claims are not
// plain JSON, or have characters that it escapes.
func plainIntrospection(claims string) (answer []byte, audience string, ok bool) {
	var room [24]plainjson.Member
	members, ok := plainjson.ReadPlain(claims, room[:0])
	if !ok || strings.ContainsAny(claims, "<>&") || strings.Contains(claims, "\u2028") || strings.Contains(claims, "\u2029") {
		return nil, "", false
	}
	var values [14]string
	for _, m := range members {
		i := slices.Index(shownClaims, m.Name)
		switch {
		case i < 0:
			continue
		case m.Value == "null", m.Name == "username" && m.Value[0] != '"':
			return nil, "", false
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
	return append(answer, '}'), values[2], true
}
