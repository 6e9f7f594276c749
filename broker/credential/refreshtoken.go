// Package credential encodes and checks what the broker issues: refresh tokens and their CSRF
// tokens, the claims of access tokens, and the state and nonces of sign-ins at a provider.
// It uses no store and no clock: keys and times are arguments.
package credential

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
)

// Purposes of the keys derived from the master secrets.
const (
	purposeRefreshMAC = "refresh-token-mac"
	purposeCSRF       = "csrf-token"
)

// The wire form of a refresh token: rt1. + base64url(uid16 ‖ sid16 ‖ gen4 ‖ secret16 ‖ mac16).
const (
	refreshPrefix = "rt1."
	secretBytes   = 16
	macBytes      = 16
	genOffset     = 2 * broker.IDBytes
	secretOffset  = genOffset + 4
	macOffset     = secretOffset + secretBytes
	refreshBytes  = macOffset + macBytes
)

// ErrRefreshToken means that a text is not a refresh token of this broker.
var ErrRefreshToken = errors.New("broker: not a refresh token of this broker")

var strictBase64 = base64.RawURLEncoding.Strict()

// RefreshToken is a refresh token whose MAC is valid.
type RefreshToken struct {
	UID, SID   broker.ID
	Generation uint32
	secret     [secretBytes]byte
}

// NewRefreshToken returns the first token of a new session, with a random secret.
func NewRefreshToken(uid, sid broker.ID) RefreshToken {
	t := RefreshToken{UID: uid, SID: sid, Generation: 1}
	_, _ = rand.Read(t.secret[:]) // never fails
	return t
}

// SecretHash returns the hash of the secret that the store keeps.
func (t RefreshToken) SecretHash() []byte {
	sum := sha256.Sum256(t.secret[:])
	return sum[:]
}

// Source returns the source of a request that presents the token, as the session's record keeps it.
func (t RefreshToken) Source(req broker.Request) []byte {
	return session.NewSource(t.secret[:], req.Addr, req.UserAgent)
}

// Encode returns the token's text under the current master secret.
func (t RefreshToken) Encode(secrets broker.Secrets) string {
	var b [refreshBytes]byte
	copy(b[:], t.UID[:])
	copy(b[broker.IDBytes:], t.SID[:])
	binary.BigEndian.PutUint32(b[genOffset:], t.Generation)
	copy(b[secretOffset:], t.secret[:])
	copy(b[macOffset:], refreshMAC(secrets.Keys(purposeRefreshMAC)[0], b[:macOffset]))
	return refreshPrefix + strictBase64.EncodeToString(b[:])
}

// ParseRefreshToken parses a refresh token and checks its MAC. The error for any text other
// than the canonical text of a token of this broker is ErrRefreshToken.
func ParseRefreshToken(text string, secrets broker.Secrets) (RefreshToken, error) {
	var t RefreshToken
	encoded, ok := strings.CutPrefix(text, refreshPrefix)
	if !ok || len(encoded) != strictBase64.EncodedLen(refreshBytes) {
		return t, ErrRefreshToken
	}
	b, err := strictBase64.DecodeString(encoded)
	if err != nil || len(b) != refreshBytes {
		return t, ErrRefreshToken
	}
	good := false
	for _, key := range secrets.Keys(purposeRefreshMAC) {
		good = hmac.Equal(refreshMAC(key, b[:macOffset]), b[macOffset:]) || good
	}
	if !good {
		return t, ErrRefreshToken
	}
	copy(t.UID[:], b)
	copy(t.SID[:], b[broker.IDBytes:])
	t.Generation = binary.BigEndian.Uint32(b[genOffset:])
	copy(t.secret[:], b[secretOffset:])
	return t, nil
}

func refreshMAC(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)[:macBytes]
}

// CSRFToken returns the CSRF token of a session, which does not change.
func CSRFToken(secrets broker.Secrets, sid string) string {
	return csrfUnder(secrets.Keys(purposeCSRF)[0], sid)
}

// MatchCSRF reports whether presented is the session's CSRF token under the current or a previous master
// secret. It also returns the current one, as [CSRFToken] does.
func MatchCSRF(secrets broker.Secrets, sid, presented string) (current string, ok bool) {
	for i, key := range secrets.Keys(purposeCSRF) {
		token := csrfUnder(key, sid)
		if i == 0 {
			current = token
		}
		ok = hmac.Equal([]byte(token), []byte(presented)) || ok
	}
	return current, ok
}

func csrfUnder(key []byte, sid string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(sid))
	return strictBase64.EncodeToString(mac.Sum(nil))
}
