package credential

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

	"tokenbroker/broker"
)

// maxSealed is the length of the longest text that unseal decodes.
const maxSealed = 8 << 10

// errSealed means that a text was not sealed by this broker for the purpose.
var errSealed = errors.New("broker: not sealed by this broker")

// sealedAAD binds a sealed value to its purpose and its expiry.
func sealedAAD(purpose string, expires int64) []byte {
	return binary.BigEndian.AppendUint64([]byte(purpose+"\x00"), uint64(expires))
}

// seal returns base64url(expiry8 ‖ nonce ‖ AES-256-GCM(JSON of value)) under the current key of the purpose.
func seal(secrets broker.Secrets, purpose string, expires time.Time, value any) (string, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // an escaped & has six bytes, and cookies are small
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encoding the %s: %w", purpose, err)
	}
	aead, err := sealedAEAD(secrets.Keys(purpose)[0])
	if err != nil {
		return "", err
	}
	out := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	out = append(out, nonce...)
	return strictBase64.EncodeToString(aead.Seal(out, nonce, plain.Bytes(), sealedAAD(purpose, expires.Unix()))), nil
}

// unseal opens a sealed value, under the current or a previous key of the purpose, and returns when it expires. The caller
// compares that time. The error is errSealed unless no cipher can be made.
func unseal(text string, secrets broker.Secrets, purpose string, into any) (expires time.Time, err error) {
	if len(text) > maxSealed {
		return time.Time{}, errSealed
	}
	raw, err := strictBase64.DecodeString(text)
	if err != nil || len(raw) < 8 {
		return time.Time{}, errSealed
	}
	end := int64(binary.BigEndian.Uint64(raw))
	for _, key := range secrets.Keys(purpose) {
		aead, err := sealedAEAD(key)
		if err != nil {
			return time.Time{}, err
		}
		if len(raw) < 8+aead.NonceSize() {
			return time.Time{}, errSealed
		}
		nonce, sealed := raw[8:8+aead.NonceSize()], raw[8+aead.NonceSize():]
		plain, err := aead.Open(nil, nonce, sealed, sealedAAD(purpose, end))
		if err != nil {
			continue
		}
		if err := json.Unmarshal(plain, into); err != nil {
			return time.Time{}, errSealed
		}
		return time.Unix(end, 0), nil
	}
	return time.Time{}, errSealed
}

func sealedAEAD(key []byte) (cipher.AEAD, error) {
	sum := sha256.Sum256(key) // keys may have any length
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return aead, nil
}
