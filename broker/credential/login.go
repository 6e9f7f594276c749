package credential

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"tokenbroker/broker"
)

const purposeLogin = "login-state"

// ErrLoginState means that a login cookie is missing, damaged, of another broker or expired.
var ErrLoginState = errors.New("broker: invalid or expired login state")

// LoginState is the state of a login, which the browser keeps in a sealed cookie from the redirect to the callback.
type LoginState struct {
	Provider    string `json:"provider"`
	RedirectURI string `json:"redirect_uri"`
	State       string `json:"state"`
	Nonce       string `json:"nonce"`
	Verifier    string `json:"verifier"`
	ReturnTo    string `json:"return_to"`
	// Replaces is the session that the browser had when the login began.
	Replaces *PriorSession `json:"replaces,omitempty"`
}

// Seal returns the sealed state.
func (s LoginState) Seal(secrets broker.Secrets, expires time.Time) (string, error) {
	return seal(secrets, purposeLogin, expires, s)
}

// OpenLoginState opens a sealed state, under the current or a previous master secret.
func OpenLoginState(text string, secrets broker.Secrets, now time.Time) (LoginState, error) {
	var s LoginState
	expires, err := unseal(text, secrets, purposeLogin, &s)
	switch {
	case errors.Is(err, errSealed), err == nil && !now.Before(expires):
		return LoginState{}, ErrLoginState
	case err != nil:
		return LoginState{}, err
	}
	return s, nil
}

// RandomText returns 256 random bits as base64url.
func RandomText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return strictBase64.EncodeToString(b[:])
}

// PriorSession identifies the session of a browser that signs in again. It is part of the login state, because
// the callback does not receive the refresh cookie, which is SameSite=Strict.
type PriorSession struct {
	UID        string `json:"uid"`
	SID        string `json:"sid"`
	SecretHash []byte `json:"secret_hash"`
}

const (
	purposeNonce = "exchange-nonce"
	nonceBody    = 8 + 16 // expiry and random bytes
	nonceMAC     = 16
)

// OpenNonce reports whether text is a nonce of this broker, and returns when it expires and the
// value of its cookie.
func OpenNonce(text string, secrets broker.Secrets) (expires time.Time, cookie string, ok bool) {
	raw, err := strictBase64.DecodeString(text)
	if err != nil || len(raw) != nonceBody+nonceMAC {
		return time.Time{}, "", false
	}
	for _, key := range secrets.Keys(purposeNonce) {
		if hmac.Equal(raw[nonceBody:], keyed(key, "nonce", raw[:nonceBody])[:nonceMAC]) {
			expires = time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)
			return expires, strictBase64.EncodeToString(keyed(key, "cookie", raw)), true
		}
	}
	return time.Time{}, "", false
}

// keyed returns HMAC-SHA256 of data for one use of the key.
func keyed(key []byte, use string, data []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(append([]byte(use+"\x00"), data...))
	return mac.Sum(nil)
}

// NewNonce returns a nonce for an exchange. The broker stores nothing: the nonce is base64url(expiry8 ‖
// random16 ‖ mac16), and the cookie is another MAC of the nonce, which cannot be computed from
// the nonce.
func NewNonce(secrets broker.Secrets, now time.Time) broker.ExchangeNonce {
	key := secrets.Keys(purposeNonce)[0]
	expires := time.Unix(now.Add(broker.NonceLife).Unix(), 0)
	raw := make([]byte, nonceBody, nonceBody+nonceMAC)
	binary.BigEndian.PutUint64(raw, uint64(expires.Unix()))
	_, _ = rand.Read(raw[8:]) // never fails
	raw = append(raw, keyed(key, "nonce", raw)[:nonceMAC]...)
	nonce := strictBase64.EncodeToString(raw)
	return broker.ExchangeNonce{
		Nonce: nonce, ExpiresAt: expires, ExpiresIn: expires.Sub(now),
		CookieSuffix: broker.LoginCookieSuffix(nonce), CookieValue: strictBase64.EncodeToString(keyed(key, "cookie", raw)),
	}
}
