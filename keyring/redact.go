package keyring

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// The types that hold key material print only the following text, with any verb.

func (k *Keyring) redacted() string {
	if k == nil || k.current.Load() == nil {
		return "keyring (not open)"
	}
	return k.current.Load().redacted()
}

func (s *snapshot) redacted() string {
	if s == nil {
		return "keyring (not open)"
	}
	return fmt.Sprintf("keyring (revision %d, %d keys)", s.rev, len(s.rec.Keys))
}

func (s *AESGCM) redacted() string {
	if s == nil {
		return "AES-256-GCM (no KEK)"
	}
	return "AES-256-GCM (KEK id " + s.ID() + ")"
}

func (KEK) redacted() string { return "KEK (redacted)" }

// Format implements fmt.Formatter: no verb shows key material.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.redacted()) }

// LogValue implements slog.LogValuer.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.redacted()) }

// MarshalJSON implements json.Marshaler.
func (k *Keyring) MarshalJSON() ([]byte, error) { return json.Marshal(k.redacted()) }

// Format implements fmt.Formatter: no verb shows key material.
func (s *snapshot) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.redacted()) }

// LogValue implements slog.LogValuer.
func (s *snapshot) LogValue() slog.Value { return slog.StringValue(s.redacted()) }

// MarshalJSON implements json.Marshaler.
func (s *snapshot) MarshalJSON() ([]byte, error) { return json.Marshal(s.redacted()) }

// Format implements fmt.Formatter: no verb shows key material.
func (s *AESGCM) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.redacted()) }

// LogValue implements slog.LogValuer.
func (s *AESGCM) LogValue() slog.Value { return slog.StringValue(s.redacted()) }

// MarshalJSON implements json.Marshaler.
func (s *AESGCM) MarshalJSON() ([]byte, error) { return json.Marshal(s.redacted()) }

// Format implements fmt.Formatter: no verb shows key material.
func (k KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.redacted()) }

// LogValue implements slog.LogValuer.
func (k KEK) LogValue() slog.Value { return slog.StringValue(k.redacted()) }

// MarshalJSON implements json.Marshaler.
func (k KEK) MarshalJSON() ([]byte, error) { return json.Marshal(k.redacted()) }
