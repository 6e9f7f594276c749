// Package hello is the sample service: one protected endpoint.
package hello

import (
	"encoding/json"
	"net/http"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

const scope = "hello:read"

// Resource describes the service for clients that know only its URL: uri is the one that the broker has in oauth.resources.
func Resource(uri, issuer string) httpauth.Resource {
	return httpauth.Resource{URI: uri, AuthorizationServers: []string{issuer}, Scopes: []string{scope}, Name: "Greetings"}
}

// Handler serves GET /hello to callers whose token has the scope hello:read. The options
// are added to it, for example [httpauth.AllowOrigins].
func Handler(v httpauth.Validator, options ...httpauth.Option) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", hello)
	options = append([]httpauth.Option{httpauth.Scope(scope)}, options...)
	// Around the mux, not inside: pre-flights come with another method.
	return httpauth.Require(v, options...)(mux)
}

func hello(w http.ResponseWriter, r *http.Request) {
	claims, ok := validator.FromContext(r.Context())
	if !ok {
		http.Error(w, "not protected", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"hello":      claims.Subject,
		"client_id":  claims.ClientID,
		"scope":      claims.Scope,
		"expires_at": claims.ExpiresAt.Unix(),
	})
}
