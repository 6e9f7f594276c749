package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"tokenbroker/broker"
)

// hasEmail reports whether the id token names an e-mail address.
func (id *proven) hasEmail() bool { return id.claims["email"] != nil && id.claims["email"] != "" }

// emailVerified also accepts the word true: some providers send text.
func (id *proven) emailVerified() bool {
	verified := id.claims["email_verified"]
	return verified == true || verified == "true"
}

// protocolClaims say something of the token, not of the user.
var protocolClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "azp", "auth_time", "acr", "amr", "sid",
	"token_use", "origin_jti", "event_id", "cognito:username", "cognito:groups",
}

// identity returns what the broker may know of a verified id token. The issuer is the
// configured one, whichever of its names the token has: one user is one identity. The hash is over what was signed, because
// one payload can have several texts and good signatures (of ECDSA: s and n−s).
func (id *proven) identity(cfg Config) broker.Identity {
	sum := sha256.Sum256(append([]byte(cfg.Issuer+"\x00"), id.payload...))
	c := id.claims
	identity := broker.Identity{
		Provider: cfg.Name, Issuer: cfg.Issuer, Subject: id.subject,
		Username: first(c.text("cognito:username"), c.text("preferred_username"), c.text("email")),
		Email:    c.text("email"), EmailVerified: id.emailVerified(),
		Groups: c.texts("groups"), Attributes: map[string]any{}, ACR: c.text("acr"), AMR: c.texts("amr"),
		UpstreamSID: first(c.text("sid"), c.text("origin_jti")),
		TokenHash:   hex.EncodeToString(sum[:]), ExpiresAt: id.lastUse(cfg),
	}
	if cfg.Kind == KindCognito {
		identity.Groups = c.texts("cognito:groups")
	}
	if text, ok := c["auth_time"].(json.Number); ok {
		if at, err := text.Int64(); err == nil && at >= 1 && at <= cfg.Now().Add(time.Minute).Unix() {
			identity.AuthTime = time.Unix(at, 0)
		}
	}
	for name, value := range c {
		if !slices.Contains(protocolClaims, name) {
			identity.Attributes[name] = value
		}
	}
	return identity
}

// lastUse is the latest time at which the id token can be exchanged, with an hour to spare:
// its exp, unless that is so far ahead that the token will be too old first. What is kept to
// refuse a second exchange is kept until then.
func (id *proven) lastUse(cfg Config) time.Time {
	tooOld := cfg.Now().Add(cfg.MaxTokenAge + time.Hour)
	if id.expires.After(tooOld) {
		return tooOld
	}
	return id.expires
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
