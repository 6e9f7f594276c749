package lifecycle

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Purpose is what a key is used for. The purpose of a key never changes.
type Purpose string

// The purposes of keys.
const (
	PurposeAccess Purpose = "access" // signs access tokens
	PurposeFeed   Purpose = "feed"   // signs revocation messages; always EdDSA
	PurposeMaster Purpose = "master" // the secret that refresh and CSRF tokens are derived from; in no JWK set
)

// signingPurposes are the purposes of the keys that sign and are published in a JWK set.
var signingPurposes = []Purpose{PurposeAccess, PurposeFeed}

// State is the state of a key or master secret. The public halves of next, active and retiring
// keys are published.
type State string

// The states of a key.
const (
	StateNext        State = "next"        // published, does not sign yet
	StateActive      State = "active"      // signs
	StateRetiring    State = "retiring"    // no longer signs; tokens that it signed are still valid
	StateRetired     State = "retired"     // all its tokens have expired, its private key is erased
	StateCompromised State = "compromised" // permanently refused
)

// Published reports whether the public half of a key in that state is in the JWK set.
func (s State) Published() bool {
	return s == StateNext || s == StateActive || s == StateRetiring
}

// Signs reports whether a key in that state signs now or may sign later, and so needs its private key.
func (s State) Signs() bool { return s == StateNext || s == StateActive }

// Algorithm is a JWS algorithm (RFC 7518 §3, RFC 8037) of the allow-list below, or HKDF for master secrets.
type Algorithm string

// The algorithms of keys.
const (
	ES256 Algorithm = "ES256"
	EdDSA Algorithm = "EdDSA" // Ed25519
	RS256 Algorithm = "RS256"
	PS256 Algorithm = "PS256"

	// HKDFSHA256 is the algorithm that derives keys from master secrets. No key is signed with it.
	HKDFSHA256 Algorithm = "HKDF-SHA256"
)

var (
	// ErrUnknownAlgorithm is in the chain of an error about an algorithm that is not in the allow-list.
	ErrUnknownAlgorithm = errors.New("keyring: unknown algorithm")
	// ErrUnknownKey reports that there has never been a key with that id.
	ErrUnknownKey = errors.New("keyring: no such key")
	// ErrClockBehind reports that the clock is behind the creation or activation of a key.
	// Nothing is rotated by such a clock; the present keys continue to sign.
	ErrClockBehind = errors.New("keyring: the clock is behind the keys")
	// ErrTooManyMasters reports that the master secret was rotated so often that there are too
	// many old ones, which are still accepted, to try a refresh token with.
	ErrTooManyMasters = errors.New("keyring: too many master secrets are still accepted")
)

// Check returns an error that wraps [ErrUnknownAlgorithm] if a is not an algorithm that keys sign with.
func (a Algorithm) Check() error {
	if slices.Contains(Algorithms(), string(a)) {
		return nil
	}
	return fmt.Errorf("%w %q: it is one of %s", ErrUnknownAlgorithm, string(a), strings.Join(Algorithms(), ", "))
}

// Algorithms returns the names of the algorithms that keys sign with.
func Algorithms() []string {
	return []string{string(ES256), string(EdDSA), string(RS256), string(PS256)}
}

// Label identifies a key and names its state, for messages and logs.
type Label struct {
	KID       string    `json:"kid"`
	Purpose   Purpose   `json:"purpose"`
	Algorithm Algorithm `json:"algorithm"`
	State     State     `json:"state"`
}

// String names the key for a person.
func (l Label) String() string {
	return fmt.Sprintf("%s key %s (%s, %s)", l.Purpose, l.KID, l.Algorithm, l.State)
}

// LogValue implements slog.LogValuer.
func (l Label) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("kid", l.KID),
		slog.String("purpose", string(l.Purpose)),
		slog.String("algorithm", string(l.Algorithm)),
		slog.String("state", string(l.State)),
	)
}

// Key describes a key or master secret. It holds no key material. The JSON form is that of the
// stored record: times are Unix seconds, zero if the time is not known or has not come.
type Key struct {
	Label
	Created       int64 `json:"created"`
	Activates     int64 `json:"activates,omitempty"`
	Retires       int64 `json:"retires,omitempty"`
	LastTokenDies int64 `json:"last_token_dies,omitempty"`
	// Ready reports that a next key has been published long enough for every service to know it.
	Ready bool `json:"ripe,omitempty"`
	// Requested is when a rotation to this next key was requested.
	Requested int64 `json:"asked,omitempty"`
	// Jitter moves the scheduled rotation away from this key, in thousandths of its interval.
	Jitter int64 `json:"jitter,omitempty"`
}

// KeyInfo describes a key or master secret to operators and in the admin API. It holds no key
// material. A time that is not known (yet) is zero.
type KeyInfo struct {
	Label
	Created       time.Time `json:"created,omitzero"`
	Activates     time.Time `json:"activates,omitzero"`
	Retires       time.Time `json:"retires,omitzero"`
	LastTokenDies time.Time `json:"last_token_dies,omitzero"`
	// NextStep is the next scheduled change of the key's state: one of the Step constants, or
	// empty. It is set only by [Plan.List].
	NextStep   string    `json:"next_step,omitempty"`
	NextStepAt time.Time `json:"next_step_at,omitzero"`
}

// The values of [KeyInfo.NextStep].
const (
	StepSigns   = "signs"      // the key becomes active
	StepRetires = "retires"    // the key stops signing
	StepRemoved = "is removed" // the key leaves the JWK set; a master secret is no longer accepted
)

// Info returns the description of the key for operators, without its next step.
func (k *Key) Info() KeyInfo {
	return KeyInfo{
		Label: k.Label, Created: unix(k.Created), Activates: unix(k.Activates),
		Retires: unix(k.Retires), LastTokenDies: unix(k.LastTokenDies),
	}
}

func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
