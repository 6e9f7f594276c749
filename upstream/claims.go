package upstream

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// claims are the members of a verified payload, by their exact names. Numbers are [json.Number],
// because a float64 cannot represent all of them.
type claims map[string]any

// readClaims reads a payload. It refuses duplicate members and names that differ only in case at
// every depth, and JSON that is nested too deeply or has too many members: claim names are
// case-sensitive (RFC 7519 §4), and other readers of the issuer's tokens may read two such members
// as one claim.
func readClaims(payload []byte) (claims, error) {
	members, err := plainjson.ReadUnambiguous(string(payload))
	if err != nil {
		return nil, fmt.Errorf("reading the claims: %w", err)
	}
	out := make(claims, len(members))
	for _, m := range members {
		decoder := json.NewDecoder(strings.NewReader(m.Value))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, fmt.Errorf("reading the claims: %w", err)
		}
		out[m.Name] = value
	}
	return out, nil
}

// text returns a claim that is a string. A claim of another type counts as absent, so that a
// provider's own form of a claim such as "acr" does not refuse the token.
func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// texts returns the strings in a claim that is an array. It ignores other elements.
func (c claims) texts(name string) []string {
	list, _ := c[name].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// registered are the claims that the verification of a token needs. A wrong type is an error.
type registered struct {
	issuer, subject, nonce, atHash string
	audience                       []string
	expires, issued, notBefore     time.Time // zero if absent
}

var errClaimType = errors.New("a registered claim has a wrong type")

// registered reads the claims of RFC 7519 §4.1 and OIDC Core §2 that the verification of a token
// needs.
func (c claims) registered() (r registered, err error) {
	for name, into := range map[string]*string{"iss": &r.issuer, "sub": &r.subject, "nonce": &r.nonce, "at_hash": &r.atHash} {
		var ok bool
		if *into, ok = c[name].(string); !ok && c[name] != nil {
			return r, fmt.Errorf("%w: %s", errClaimType, name)
		}
	}
	for name, into := range map[string]*time.Time{"exp": &r.expires, "iat": &r.issued, "nbf": &r.notBefore} {
		if *into, err = numericDate(c[name]); err != nil {
			return r, fmt.Errorf("%w: %s", errClaimType, name)
		}
	}
	switch aud := c["aud"].(type) {
	case nil:
	case string:
		r.audience = []string{aud}
	case []any:
		if r.audience = c.texts("aud"); len(r.audience) != len(aud) {
			return r, fmt.Errorf("%w: aud", errClaimType)
		}
	default:
		return r, fmt.Errorf("%w: aud", errClaimType)
	}
	return r, nil
}

// maxDate bounds a NumericDate to seconds that a float64 represents exactly.
const maxDate = 1 << 53

// numericDate reads a NumericDate (RFC 7519 §2), in seconds, possibly with a fraction. The result
// is the zero time if it is null or absent, and is limited to ±maxDate.
func numericDate(value any) (time.Time, error) {
	if value == nil {
		return time.Time{}, nil
	}
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, errClaimType
	}
	seconds, err := number.Float64()
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(max(-maxDate, min(seconds, maxDate))), 0), nil
}

// hasEmail reports whether the id token has an e-mail address.
func (id *verifiedToken) hasEmail() bool {
	return id.claims["email"] != nil && id.claims["email"] != ""
}

// emailVerified reports whether email_verified is true, or the string "true", which some providers
// send.
func (id *verifiedToken) emailVerified() bool {
	verified := id.claims["email_verified"]
	return verified == true || verified == "true"
}

// protocolClaims are claims about the token, not about the user.
var protocolClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "azp", "auth_time", "acr", "amr", "sid",
	"token_use", "origin_jti", "event_id", "cognito:username", "cognito:groups",
}

// identity returns the identity in a verified id token. Its issuer is the configured one, even if
// the token has another name of it, so that one user is one identity. The hash is computed over the
// signed bytes, because one payload can have several texts and valid signatures (for ECDSA: s and
// n−s).
func (id *verifiedToken) identity(cfg Config) broker.Identity {
	sum := sha256.Sum256(append([]byte(cfg.Issuer+"\x00"), id.payload...))
	c := id.claims
	identity := broker.Identity{
		Provider: cfg.Name, Issuer: cfg.Issuer, Subject: id.subject,
		Username: cmp.Or(c.text("cognito:username"), c.text("preferred_username"), c.text("email")),
		Email:    c.text("email"), EmailVerified: id.emailVerified(),
		Groups: c.texts("groups"), Attributes: map[string]any{}, ACR: c.text("acr"), AMR: c.texts("amr"),
		UpstreamSID: cmp.Or(c.text("sid"), c.text("origin_jti")),
		TokenHash:   hex.EncodeToString(sum[:]), ExpiresAt: id.exchangeDeadline(cfg),
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

// exchangeDeadline is the latest time at which the id token can be exchanged, plus an hour: its
// exp, or the time at which it becomes too old if that is earlier. The record that prevents a
// second exchange is kept until then.
func (id *verifiedToken) exchangeDeadline(cfg Config) time.Time {
	tooOld := cfg.Now().Add(cfg.MaxTokenAge + time.Hour)
	if id.expires.After(tooOld) {
		return tooOld
	}
	return id.expires
}
