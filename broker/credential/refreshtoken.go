// Package credential encodes and checks what the broker hands out: refresh tokens and their CSRF
// tokens, the claims of access tokens, and what a browser carries through a sign-in at a provider.
// It has no store and no clock: keys and times are arguments.
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

// ErrRefreshToken is a refresh token that is damaged, forged or not one at all.
var ErrRefreshToken = errors.New("broker: not a refresh token of ours")

var strictBase64 = base64.RawURLEncoding.Strict()

// RefreshToken is an opened refresh token: its mac was good.
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

// SecretHash is what the store keeps of the secret.
func (t RefreshToken) SecretHash() []byte {
	sum := sha256.Sum256(t.secret[:])
	return sum[:]
}

// Source is where a request that presents the token came from.
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

// ParseRefreshToken opens a refresh token without touching the store. Every text other
// than the canonical one of a token made here is ErrRefreshToken.
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

// CSRFToken is stable for the session.
func CSRFToken(secrets broker.Secrets, sid string) string {
	return csrfUnder(secrets.Keys(purposeCSRF)[0], sid)
}

// MatchCSRF accepts a token made under the current or a previous master secret. It returns
// the current one, which [csrfToken] would make anew.
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
