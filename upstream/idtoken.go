package upstream

import (
	_ "crypto/sha256" // for hashOf
	_ "crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// isIDToken tells id tokens from the issuer's other tokens for the same client: access
// tokens (RFC 9068 §2.1), log-out tokens (OIDC Back-Channel Logout §2.4) and their like.
func (id *proven) isIDToken() bool {
	if id.typ != nil {
		typ, ok := id.typ.(string)
		if !ok || strings.TrimPrefix(strings.ToLower(typ), "application/") != "jwt" {
			return false
		}
	}
	_, events := id.claims["events"]
	return !events
}

// accessClaims are claims of access tokens: scopes (RFC 9068 §2.2.3, Entra ID's and Okta's
// scp), Auth0's grant type, a key confirmation (RFC 7800).
var accessClaims = []string{"scope", "scp", "gty", "cnf"}

// otherKind names a claim that tells the issuer's other tokens for the same client from id
// tokens: Keycloak's typ, Cognito's token_use, and those of access tokens. The last are
// harmless in a token that is proven to be an id token by more than a nonce; some issuers
// write scope into their id tokens, and some write the nonce into their access tokens.
func (id *proven) otherKind(proven bool) (claim string, found bool) {
	for claim, ofIDToken := range map[string]string{"typ": "ID", "token_use": "id"} {
		if value := id.claims[claim]; value != nil && value != ofIDToken {
			return claim, true
		}
	}
	if proven {
		return "", false
	}
	for _, claim := range accessClaims {
		if id.claims[claim] != nil {
			return claim, true
		}
	}
	return "", false
}

// binds reports whether the id token's at_hash is that of the access token raw (OIDC Core
// §3.1.3.6).
func (id *proven) binds(raw string) bool {
	h := hashOf(id.algorithm).New()
	h.Write([]byte(raw))
	want := base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:h.Size()/2])
	return subtle.ConstantTimeCompare([]byte(id.atHash), []byte(want)) == 1
}
