package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// discoveryMaxAge is how long the discovery document may be cached.
const discoveryMaxAge = 5 * time.Minute

// metadata is the document of OpenID Connect Discovery 1.0 §3 and RFC 8414 §2. It names only existing endpoints and
// what they support.
type metadata struct {
	Issuer                 string   `json:"issuer"`
	AuthorizationEndpoint  string   `json:"authorization_endpoint"`
	TokenEndpoint          string   `json:"token_endpoint"`
	UserInfoEndpoint       string   `json:"userinfo_endpoint"`
	EndSessionEndpoint     string   `json:"end_session_endpoint"`
	RevocationEndpoint     string   `json:"revocation_endpoint"`
	IntrospectionEndpoint  string   `json:"introspection_endpoint"`
	RegistrationEndpoint   string   `json:"registration_endpoint,omitempty"`
	JWKSURI                string   `json:"jwks_uri"`
	Scopes                 []string `json:"scopes_supported"`
	ResponseTypes          []string `json:"response_types_supported"`
	ResponseModes          []string `json:"response_modes_supported"`
	GrantTypes             []string `json:"grant_types_supported"`
	SubjectTypes           []string `json:"subject_types_supported"`
	IDTokenAlgorithms      []string `json:"id_token_signing_alg_values_supported"`
	TokenAuth              []string `json:"token_endpoint_auth_methods_supported"`
	TokenAlgorithms        []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuth         []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgorithms   []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuth      []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgs      []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	Claims                 []string `json:"claims_supported"`
	ClaimsParameter        bool     `json:"claims_parameter_supported"`
	RequestParameter       bool     `json:"request_parameter_supported"`
	RequestURIParameter    bool     `json:"request_uri_parameter_supported"`
	ChallengeMethods       []string `json:"code_challenge_methods_supported"`
	IssParameter           bool     `json:"authorization_response_iss_parameter_supported"`
	DocumentClients        bool     `json:"client_id_metadata_document_supported,omitempty"`
	Prompts                []string `json:"prompt_values_supported"`
	AccessTokenMaxLifetime int64    `json:"access_token_max_lifetime"`
}

// idTokenClaims are the claims of id tokens that are not about the user (OpenID Connect Core 1.0 §2).
var idTokenClaims = []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid"}

// discovery serves the document as it is now. The algorithms are those of the keys at jwks_uri:
// OIDC requires the member, and clients take their allow-list from it. The longest life, in
// seconds, is rounded up, so that no token is signed that a validator refuses.
func (h *Handler) discovery(w http.ResponseWriter, r *http.Request) error {
	base := strings.TrimSuffix(h.site.Issuer, "/")
	confidential := []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}
	anyClient := slices.Concat([]string{"none"}, confidential)
	registration := ""
	if h.cfg.Registrations != nil {
		registration = base + registrationPath
	}
	body, err := json.Marshal(metadata{
		Issuer:                 h.site.Issuer,
		AuthorizationEndpoint:  base + httpapi.AuthorizePath,
		TokenEndpoint:          base + tokenPath,
		UserInfoEndpoint:       base + userInfoPath,
		EndSessionEndpoint:     base + httpapi.LogoutPath,
		RevocationEndpoint:     base + revocationPath,
		IntrospectionEndpoint:  base + introspectPath,
		RegistrationEndpoint:   registration,
		JWKSURI:                base + jwksPath,
		Scopes:                 h.cfg.Scopes,
		ResponseTypes:          []string{"code"},
		ResponseModes:          []string{"query", "form_post"},
		GrantTypes:             []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken, broker.GrantClientCredentials, broker.GrantTokenExchange},
		SubjectTypes:           []string{"public"},
		IDTokenAlgorithms:      h.cfg.Algorithms(),
		TokenAuth:              anyClient,
		TokenAlgorithms:        h.cfg.AssertionAlgorithms,
		RevocationAuth:         anyClient,
		RevocationAlgorithms:   h.cfg.AssertionAlgorithms,
		IntrospectionAuth:      confidential,
		IntrospectionAlgs:      h.cfg.AssertionAlgorithms,
		Claims:                 slices.Concat(idTokenClaims, h.cfg.Claims),
		ClaimsParameter:        true,
		ChallengeMethods:       []string{"S256"},
		IssParameter:           true,
		DocumentClients:        h.cfg.DocumentClients,
		Prompts:                []string{"none", "login", "consent", "select_account"},
		AccessTokenMaxLifetime: int64((h.cfg.MaxTokenLifetime() + time.Second - 1) / time.Second),
	})
	if err != nil {
		return fmt.Errorf("encoding the discovery document: %w", err)
	}
	sum := sha256.Sum256(body)
	return httpapi.ServeDocument(w, r, body, hex.EncodeToString(sum[:16]), discoveryMaxAge)
}
