package broker

import "strings"

// reservedClaims are the claims that a custom one can never be: the standard ones of this
// broker's access tokens, and those that change what a verifier makes of a token (RFC 7519
// §4.1, RFC 7800, RFC 8693 §4, OpenID Connect Core §2, and Cognito's token_use).
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "sid", "scope", "auth_time", "acr", "amr", "sep", "cep",
	"cnf", "act", "may_act", "azp", "nonce", "at_hash", "c_hash", "s_hash", "typ", "token_use", "events",
}

// ReservedClaim reports whether no custom claim may have that name. Case is ignored: a
// decoder like encoding/json takes a later "SUB" for the sub.
func ReservedClaim(name string) bool {
	for _, reserved := range reservedClaims {
		if strings.EqualFold(name, reserved) {
			return true
		}
	}
	return false
}
