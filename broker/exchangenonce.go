package broker

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"time"
)

const (
	purposeNonce = "exchange-nonce"
	// NonceLife is how long a nonce for an exchange can be used: the time for a sign-in at the provider.
	NonceLife = 10 * time.Minute

	nonceBody = 8 + 16 // expiry and random bytes
	nonceMAC  = 16
)

// ExchangeNonce is a nonce for the authentication request that a SPA sends to a provider
// itself. Its cookie has to come along when the id token is exchanged.
type ExchangeNonce struct {
	Nonce     string
	ExpiresAt time.Time
	ExpiresIn time.Duration
	// CookieSuffix and CookieValue are the cookie that binds the nonce to a browser.
	CookieSuffix, CookieValue string
}

// NewExchangeNonce makes a nonce. The broker keeps nothing: the nonce is base64url(expiry8 ‖
// random16 ‖ mac16), and the cookie is another MAC of the nonce, which no one who sees only
// the nonce can compute.
func (b *Broker) NewExchangeNonce() ExchangeNonce {
	now, key := b.cfg.Clock.Now(), b.cfg.Secrets.Keys(purposeNonce)[0]
	expires := time.Unix(now.Add(NonceLife).Unix(), 0)
	raw := make([]byte, nonceBody, nonceBody+nonceMAC)
	binary.BigEndian.PutUint64(raw, uint64(expires.Unix()))
	_, _ = rand.Read(raw[8:]) // never fails
	raw = append(raw, keyed(key, "nonce", raw)[:nonceMAC]...)
	nonce := strictBase64.EncodeToString(raw)
	return ExchangeNonce{
		Nonce: nonce, ExpiresAt: expires, ExpiresIn: expires.Sub(now),
		CookieSuffix: LoginCookieSuffix(nonce), CookieValue: strictBase64.EncodeToString(keyed(key, "cookie", raw)),
	}
}

// openNonce reports whether text is a nonce of this broker, until when it can be used, and the
// value of its cookie.
func openNonce(text string, secrets Secrets) (expires time.Time, cookie string, ok bool) {
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

// proveIDToken insists on a mark that the token is an id token, and not another token of the
// issuer for the same client (RFC 8725 §3.12). It returns what the exchange uses up: the token,
// and its nonce if this broker issued it. Such a nonce must hold even where the token is
// proven otherwise, as the SPA asked for it. Errors: CodeTokenUsed, CodeNonceExpired,
// CodeNonceUsed, CodeNonceInvalid, CodeIDTokenUnproven, and those of cookie.
func (b *Broker) proveIDToken(ctx context.Context, identity Identity, cookie func(suffix string) (string, error)) ([]onceKey, error) {
	token := newOnceKey("id_token", identity.TokenHash, identity.ExpiresAt.Add(time.Hour))
	expires, want, issued := openNonce(identity.Nonce, b.cfg.Secrets)
	if !issued && !identity.Proven {
		return nil, unproven(nil)
	}
	if !issued {
		return []onceKey{token}, nil
	}
	nonce := newOnceKey(purposeNonce, identity.Nonce, expires.Add(time.Hour))
	for _, used := range []struct {
		once    onceKey
		refusal *Error
	}{
		{token, &Error{Code: CodeTokenUsed, Message: tokenUsed}},
		{nonce, &Error{Code: CodeNonceUsed, Message: "The nonce of this id token was used before: sign in at the provider with a new one."}},
	} {
		if found, err := used.once.exists(ctx, b.cfg.Store); err != nil {
			return nil, err
		} else if found {
			return nil, used.refusal
		}
	}
	if !b.cfg.Clock.Now().Before(expires) {
		return nil, &Error{Code: CodeNonceExpired, Message: "The nonce of this id token has expired: sign in at the provider with a new one."}
	}
	sent := ""
	if cookie != nil {
		var err error
		if sent, err = cookie(LoginCookieSuffix(identity.Nonce)); err != nil {
			return nil, err
		}
	}
	if subtle.ConstantTimeCompare([]byte(sent), []byte(want)) != 1 {
		return nil, &Error{Code: CodeNonceInvalid, Message: "The nonce of this id token was not issued to this browser: send its cookie along."}
	}
	return []onceKey{token, nonce}, nil
}

// unproven is the refusal of a token that has no mark of an id token.
func unproven(cause error) *Error {
	return &Error{Code: CodeIDTokenUnproven, Err: cause, Message: "Nothing proves that this is an id token: " +
		"send the access token that its at_hash names, or sign in at the provider with a nonce from /auth/exchange-nonce. " +
		"Do not send an access token if the id token has no at_hash."}
}
