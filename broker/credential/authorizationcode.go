package credential

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"time"

	"tokenbroker/broker"
)

const (
	purposeCode     = "authorization-code"
	purposeContinue = "authorization-continue"
)

const (
	// CodeLife is the time for which an authorization code can be redeemed.
	CodeLife = 60 * time.Second
	// ContinueLife is the longest time from a sign-in page to the authorization request that it continues.
	ContinueLife = 10 * time.Minute
)

// ErrAuthorizationCode means that a text is not an authorization code of this broker.
var ErrAuthorizationCode = errors.New("broker: not an authorization code of this broker")

// AuthorizationCode is the content of an authorization code, which the broker does not store. Redeeming it opens the grant SID
// of the user UID. A code that was redeemed is known by that grant.
type AuthorizationCode struct {
	UID string `json:"uid"`
	// SID is that of the grant to make, and BrowserSID that of the browser session in which the user authorized the client. The
	// authentication (auth_time, acr, amr, account) is that session's.
	SID        string `json:"sid"`
	BrowserSID string `json:"bsid"`
	ClientID   string `json:"client"`
	// RedirectURI is the request's, and Challenge its code_challenge (S256).
	RedirectURI string `json:"redirect"`
	Challenge   string `json:"challenge"`
	Nonce       string `json:"nonce,omitempty"`
	// Scopes are what was granted.
	Scopes []string `json:"scopes"`
	// Audience is the final aud of the grant's access tokens: audience names, then Resources, or the issuer. Resources are the
	// resource parameters of the request; a token request may name some of them again (RFC 8707 §2.2).
	Audience  []string `json:"aud"`
	Resources []string `json:"resources,omitempty"`
	// Offline is true if offline_access was granted.
	Offline bool `json:"offline,omitempty"`
	// UserInfoClaims and IDTokenClaims are the names that the claims parameter requested.
	UserInfoClaims []string `json:"userinfo,omitempty"`
	IDTokenClaims  []string `json:"id_token,omitempty"`
	// CEP is the epoch of the client at the time of the authorization. If the client's tokens were revoked since then, the code is refused.
	CEP int64 `json:"cep,omitempty"`
	// ExpiresAt is when the code can no longer be redeemed. The sealed form has it outside of the JSON.
	ExpiresAt time.Time `json:"-"`
}

// Seal returns the code's text.
func (c AuthorizationCode) Seal(secrets broker.Secrets) (string, error) {
	return seal(secrets, purposeCode, c.ExpiresAt, c)
}

// OpenAuthorizationCode opens a code, under the current or a previous master secret. An expired code is opened as well, because
// one that was redeemed in time and is presented again revokes its grant (RFC 6749 §4.1.2). The error for any other text is
// ErrAuthorizationCode.
func OpenAuthorizationCode(text string, secrets broker.Secrets, now time.Time) (code AuthorizationCode, expired bool, err error) {
	code.ExpiresAt, err = unseal(text, secrets, purposeCode, &code)
	switch {
	case errors.Is(err, errSealed):
		return AuthorizationCode{}, false, ErrAuthorizationCode
	case err != nil:
		return AuthorizationCode{}, false, err
	}
	return code, !now.Before(code.ExpiresAt), nil
}

// Continuation is the content of a continue token: the sign-in page was shown for an authorization request.
type Continuation struct {
	// Params are the request's parameters in a canonical form.
	Params string
	// SID is the browser session at that time, or empty.
	SID   string
	Shown time.Time
}

// sealedContinuation is the sealed form of a Continuation.
type sealedContinuation struct {
	Hash  []byte `json:"hash"`
	SID   string `json:"sid,omitempty"`
	Shown int64  `json:"shown"` // Unix s
}

// Seal returns the continue token, which expires after [ContinueLife].
func (c Continuation) Seal(secrets broker.Secrets) (string, error) {
	sum := sha256.Sum256([]byte(c.Params))
	return seal(secrets, purposeContinue, c.Shown.Add(ContinueLife), sealedContinuation{Hash: sum[:], SID: c.SID, Shown: c.Shown.Unix()})
}

// OpenContinue opens a continue token of the authorization request with those parameters. ok is false if the token is missing, not
// of this broker, expired or of another request.
func OpenContinue(text, params string, secrets broker.Secrets, now time.Time) (c Continuation, ok bool) {
	var sealed sealedContinuation
	expires, err := unseal(text, secrets, purposeContinue, &sealed)
	sum := sha256.Sum256([]byte(params))
	if err != nil || !now.Before(expires) || !bytes.Equal(sealed.Hash, sum[:]) {
		return Continuation{}, false
	}
	return Continuation{Params: params, SID: sealed.SID, Shown: time.Unix(sealed.Shown, 0)}, true
}
