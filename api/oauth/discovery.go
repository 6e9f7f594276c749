package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
)

// discoveryMaxAge is how long the discovery document may be cached.
const discoveryMaxAge = 5 * time.Minute

// metadata is the document of OpenID Connect Discovery 1.0 §3 and RFC 8414 §2. It names
// only existing endpoints: authorization_endpoint and token_endpoint are missing because
// the broker has none, although OIDC requires them, and the lists of response and grant
// types are empty for the same reason.
type metadata struct {
	Issuer                 string   `json:"issuer"`
	JWKSURI                string   `json:"jwks_uri"`
	ResponseTypes          []string `json:"response_types_supported"`
	GrantTypes             []string `json:"grant_types_supported"`
	SubjectTypes           []string `json:"subject_types_supported"`
	IDTokenAlgorithms      []string `json:"id_token_signing_alg_values_supported"`
	IntrospectionEndpoint  string   `json:"introspection_endpoint"`
	IntrospectionAuth      []string `json:"introspection_endpoint_auth_methods_supported"`
	AccessTokenMaxLifetime int64    `json:"access_token_max_lifetime"`
}

// discovery serves the document as it is now. The algorithms are those of the keys at jwks_uri:
// OIDC requires the member, and clients take their allow-list from it. The longest life, in
// seconds, is rounded up, so that no token is signed that a validator refuses.
func (h *Handler) discovery(w http.ResponseWriter, r *http.Request) error {
	base := strings.TrimSuffix(h.site.Issuer, "/")
	body, err := json.Marshal(metadata{
		Issuer:                 h.site.Issuer,
		JWKSURI:                base + "/.well-known/jwks.json",
		ResponseTypes:          []string{},
		GrantTypes:             []string{},
		SubjectTypes:           []string{"public"},
		IDTokenAlgorithms:      h.cfg.Algorithms(),
		IntrospectionEndpoint:  base + "/oauth2/introspect",
		IntrospectionAuth:      []string{"client_secret_basic", "client_secret_post"},
		AccessTokenMaxLifetime: int64((h.cfg.MaxTokenLifetime() + time.Second - 1) / time.Second),
	})
	if err != nil {
		return fmt.Errorf("encoding the discovery document: %w", err)
	}
	sum := sha256.Sum256(body)
	return httpapi.ServeDocument(w, r, body, hex.EncodeToString(sum[:16]), discoveryMaxAge)
}
