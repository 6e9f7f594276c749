package config

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is shown in place of a secret.
const redacted = "(redacted)"

// Secret is a text that formatting, encoding and logging redact. [Secret.Reveal] returns it.
type Secret struct{ text string }

var (
	_ fmt.Formatter  = Secret{}
	_ slog.LogValuer = Secret{}
)

// NewSecret returns text as a Secret.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the secret.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether the secret is empty. Encoders omit it then.
func (s Secret) IsZero() bool { return s.text == "" }

// Set reports whether the secret is not empty.
func (s Secret) Set() bool { return s.text != "" }

// String returns "(redacted)", or "" if the secret is empty.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString implements [fmt.GoStringer]. It redacts.
func (s Secret) GoString() string { return s.String() }

// Format implements [fmt.Formatter]. It redacts for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements [encoding.TextMarshaler]. It redacts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements json.Marshaler. It redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// MarshalYAML implements yaml.Marshaler. It redacts.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue implements [slog.LogValuer]. It redacts.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
