package keyring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base32"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Purpose is what a key is for; it never changes, and the purposes are never mixed.
type Purpose string

// The purposes of keys.
const (
	PurposeAccess Purpose = "access" // signs access tokens
	PurposeFeed   Purpose = "feed"   // signs revocation messages; always EdDSA
	PurposeMaster Purpose = "master" // the secret that refresh and CSRF tokens are derived from; in no JWK set
)

// State is where a key is in its life.
type State string

// The states of a key. The public halves of next, active and retiring keys are published.
const (
	StateNext        State = "next"        // published, does not sign yet
	StateActive      State = "active"      // signs
	StateRetiring    State = "retiring"    // signs no more, its last token still lives
	StateRetired     State = "retired"     // its last token is dead, its private part erased
	StateCompromised State = "compromised" // refused for ever
)

func (s State) published() bool {
	return s == StateNext || s == StateActive || s == StateRetiring
}

func (s State) signs() bool { return s == StateNext || s == StateActive }

// KeyInfo is what may be told of a key. It holds no key material. A time that is not
// known (yet) is zero.
type KeyInfo struct {
	KID           string    `json:"kid"`
	Purpose       Purpose   `json:"purpose"`
	Algorithm     Algorithm `json:"algorithm"`
	State         State     `json:"state"`
	Created       time.Time `json:"created"`
	Activates     time.Time `json:"activates,omitzero"`
	Retires       time.Time `json:"retires,omitzero"`
	LastTokenDies time.Time `json:"last_token_dies,omitzero"`
	// NextStep is what happens to the key next of its own accord, for a table that a person
	// reads: one of the Step constants, or empty. It is known to [Keyring.List] alone.
	NextStep   string    `json:"next_step,omitempty"`
	NextStepAt time.Time `json:"next_step_at,omitzero"`
}

// What [KeyInfo.NextStep] says.
const (
	StepSigns   = "signs"      // becomes active
	StepRetires = "retires"    // signs no more
	StepRemoved = "is removed" // leaves the JWK set; a master secret is dropped
)

// String names the key for a person.
func (k KeyInfo) String() string {
	return fmt.Sprintf("%s key %s (%s, %s)", k.Purpose, k.KID, k.Algorithm, k.State)
}

// LogValue implements slog.LogValuer.
func (k KeyInfo) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("kid", k.KID),
		slog.String("purpose", string(k.Purpose)),
		slog.String("algorithm", string(k.Algorithm)),
		slog.String("state", string(k.State)),
	)
}

// key is an opened keyRecord. signer is nil unless the key may sign.
type key struct {
	info   KeyInfo
	public crypto.PublicKey
	signer crypto.Signer
}

// keyID is derived from the RFC 7638 thumbprint: lower-case letters and digits only, so
// that it can be typed, selected and given on a command line.
func keyID(public crypto.PublicKey) (string, error) {
	thumbprint, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("computing the key id: %w", err)
	}
	return kidEncoding.EncodeToString(thumbprint[:15]), nil
}

var kidEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newKey makes a key and seals it.
func newKey(ctx context.Context, sealer Sealer, purpose Purpose, alg Algorithm, state State, now time.Time) (keyRecord, error) {
	signer, err := alg.generate()
	if err != nil {
		return keyRecord{}, fmt.Errorf("making a key: %w", err)
	}
	k := keyRecord{Purpose: purpose, Algorithm: alg, State: state, Created: now.Unix()}
	if state == StateActive {
		k.Activates = k.Created
	}
	if k.KID, err = keyID(signer.Public()); err != nil {
		return keyRecord{}, err
	}
	if k.Public, err = x509.MarshalPKIXPublicKey(signer.Public()); err != nil {
		return keyRecord{}, fmt.Errorf("encoding a public key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return keyRecord{}, fmt.Errorf("encoding a private key: %w", err)
	}
	defer clear(private)
	if k.Private, err = sealer.Seal(ctx, private, k.aad()); err != nil {
		return keyRecord{}, fmt.Errorf("sealing a private key: %w", err)
	}
	return k, nil
}

// open unseals what the key's state needs and checks that its parts belong together.
func (k *keyRecord) open(ctx context.Context, sealer Sealer) (*key, error) {
	opened := &key{info: k.info()}
	public, err := x509.ParsePKIXPublicKey(k.Public)
	if err != nil || !k.Algorithm.fits(public) {
		return nil, fmt.Errorf("%w: its public part is no %s key", ErrCorrupt, k.Algorithm)
	}
	if id, err := keyID(public); err != nil || id != k.KID {
		return nil, fmt.Errorf("%w: its public part belongs to another key id", ErrCorrupt)
	}
	opened.public = public
	if !k.State.signs() {
		return opened, nil
	}
	private, err := sealer.Open(ctx, k.Private, k.aad())
	if err != nil {
		return nil, err
	}
	defer clear(private)
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		// The parser's error may quote what it parsed.
		return nil, fmt.Errorf("%w: its private part cannot be parsed", ErrCorrupt)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: its private part cannot sign", ErrCorrupt)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || !bytes.Equal(der, k.Public) {
		return nil, fmt.Errorf("%w: its private part belongs to another public key", ErrCorrupt)
	}
	opened.signer = signer
	return opened, nil
}
