package broker

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	purposeLogin = "login-state"
	// LoginLife is how long a login may take from the redirect to the callback.
	LoginLife = 10 * time.Minute
)

// errLoginState is a login cookie that is missing, damaged, foreign or too old.
var errLoginState = errors.New("broker: no such login state")

// loginState is what a browser carries, sealed, between the redirect and the callback.
type loginState struct {
	Provider    string `json:"provider"`
	RedirectURI string `json:"redirect_uri"`
	State       string `json:"state"`
	Nonce       string `json:"nonce"`
	Verifier    string `json:"verifier"`
	ReturnTo    string `json:"return_to"`
	// Replaces is the session that the browser had when the login began.
	Replaces *replacedSession `json:"replaces,omitempty"`
}

// loginAAD binds a sealed state to its purpose and its expiry.
func loginAAD(expires int64) []byte {
	return binary.BigEndian.AppendUint64([]byte(purposeLogin+"\x00"), uint64(expires))
}

// seal returns base64url(expiry8 ‖ nonce ‖ AES-256-GCM(state)).
func (s loginState) seal(secrets Secrets, expires time.Time) (string, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // six bytes for a & would not fit a cookie
	if err := encoder.Encode(s); err != nil {
		return "", fmt.Errorf("encoding the login state: %w", err)
	}
	aead, err := loginAEAD(secrets.Keys(purposeLogin)[0])
	if err != nil {
		return "", err
	}
	out := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	out = append(out, nonce...)
	return strictBase64.EncodeToString(aead.Seal(out, nonce, plain.Bytes(), loginAAD(expires.Unix()))), nil
}

// openLoginState opens what seal made, under the current or a previous master secret.
func openLoginState(text string, secrets Secrets, now time.Time) (loginState, error) {
	raw, err := strictBase64.DecodeString(text)
	if err != nil || len(raw) < 8 {
		return loginState{}, errLoginState
	}
	expires := int64(binary.BigEndian.Uint64(raw))
	for _, key := range secrets.Keys(purposeLogin) {
		aead, err := loginAEAD(key)
		if err != nil {
			return loginState{}, err
		}
		if len(raw) < 8+aead.NonceSize() {
			return loginState{}, errLoginState
		}
		nonce, sealed := raw[8:8+aead.NonceSize()], raw[8+aead.NonceSize():]
		plain, err := aead.Open(nil, nonce, sealed, loginAAD(expires))
		if err != nil {
			continue
		}
		var s loginState
		if err := json.Unmarshal(plain, &s); err != nil || now.Unix() >= expires {
			return loginState{}, errLoginState
		}
		return s, nil
	}
	return loginState{}, errLoginState
}

func loginAEAD(key []byte) (cipher.AEAD, error) {
	sum := sha256.Sum256(key) // whatever the length of a purpose's key
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return nil, fmt.Errorf("making the login cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making the login cipher: %w", err)
	}
	return aead, nil
}

// LoginCookieSuffix names the cookie of one login attempt by a hash of its state, so that
// several tabs do not overwrite each other's.
func LoginCookieSuffix(state string) string {
	sum := sha256.Sum256([]byte(state))
	return lowerBase32.EncodeToString(sum[:10])
}

func randomText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return strictBase64.EncodeToString(b[:])
}
