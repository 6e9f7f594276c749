package broker

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

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
	genOffset     = 2 * idBytes
	secretOffset  = genOffset + 4
	macOffset     = secretOffset + secretBytes
	refreshBytes  = macOffset + macBytes
)

// errRefreshToken is a refresh token that is damaged, forged or not one at all.
var errRefreshToken = errors.New("broker: not a refresh token of ours")

var strictBase64 = base64.RawURLEncoding.Strict()

// refreshToken is an opened refresh token: its mac was good.
type refreshToken struct {
	uid, sid   id
	generation uint32
	secret     [secretBytes]byte
}

func newRefreshToken(uid, sid id) refreshToken {
	t := refreshToken{uid: uid, sid: sid, generation: 1}
	_, _ = rand.Read(t.secret[:]) // never fails
	return t
}

// secretHash is what the store keeps of the secret.
func (t refreshToken) secretHash() []byte {
	sum := sha256.Sum256(t.secret[:])
	return sum[:]
}

// source is where a request that presents the token came from.
func (t refreshToken) source(req Request) []byte {
	return session.NewSource(t.secret[:], req.Addr, req.UserAgent)
}

// seen returns what an audit line has of a request that presents the token, and more.
func (t refreshToken) seen(req Request, more ...any) []any {
	return append([]any{"uid", t.uid.String(), "sid", t.sid.String(), "generation", t.generation, "user_agent", req.UserAgent}, more...)
}

// encode returns the token's text under the current master secret.
func (t refreshToken) encode(secrets Secrets) string {
	var b [refreshBytes]byte
	copy(b[:], t.uid[:])
	copy(b[idBytes:], t.sid[:])
	binary.BigEndian.PutUint32(b[genOffset:], t.generation)
	copy(b[secretOffset:], t.secret[:])
	copy(b[macOffset:], refreshMAC(secrets.Keys(purposeRefreshMAC)[0], b[:macOffset]))
	return refreshPrefix + strictBase64.EncodeToString(b[:])
}

// parseRefreshToken opens a refresh token without touching the store. Every text other
// than the canonical one of a token made here is errRefreshToken.
func parseRefreshToken(text string, secrets Secrets) (refreshToken, error) {
	var t refreshToken
	encoded, ok := strings.CutPrefix(text, refreshPrefix)
	if !ok || len(encoded) != strictBase64.EncodedLen(refreshBytes) {
		return t, errRefreshToken
	}
	b, err := strictBase64.DecodeString(encoded)
	if err != nil || len(b) != refreshBytes {
		return t, errRefreshToken
	}
	good := false
	for _, key := range secrets.Keys(purposeRefreshMAC) {
		good = hmac.Equal(refreshMAC(key, b[:macOffset]), b[macOffset:]) || good
	}
	if !good {
		return t, errRefreshToken
	}
	copy(t.uid[:], b)
	copy(t.sid[:], b[idBytes:])
	t.generation = binary.BigEndian.Uint32(b[genOffset:])
	copy(t.secret[:], b[secretOffset:])
	return t, nil
}

func refreshMAC(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)[:macBytes]
}

// csrfToken is stable for the session.
func csrfToken(secrets Secrets, sid string) string {
	return csrfUnder(secrets.Keys(purposeCSRF)[0], sid)
}

// csrfMatches accepts a token made under the current or a previous master secret. It returns
// the current one, which [csrfToken] would make anew.
func csrfMatches(secrets Secrets, sid, presented string) (current string, ok bool) {
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
