// Package logging makes the process's logger: text or JSON, with a level that can be changed
// while it runs, and a guard that redacts attributes whose key names a secret.
//
// The guard is a second line of defence: code that logs is to leave secrets out by itself.
// It sees keys, not what is in messages, errors or the fields of a struct.
package logging

import (
	"io"
	"log/slog"
	"slices"
	"strings"
)

// The formats of [Config].
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Redacted stands where a secret would have been.
const Redacted = "[redacted]"

// Config of a logger. The zero value is text from level info on.
type Config struct {
	// Level may be changed at any time; nil: info for good.
	Level *slog.LevelVar
	// Format is FormatJSON, one object a line, or FormatText, which is the default.
	Format string
}

// New makes a logger that writes to w, one call a line. It is safe for concurrent use.
func New(w io.Writer, cfg Config) *slog.Logger {
	opts := &slog.HandlerOptions{ReplaceAttr: redact}
	if cfg.Level != nil {
		opts.Level = cfg.Level
	}
	if cfg.Format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// secretKeys are the keys, in lower case with underscores, whose values are never written.
var secretKeys = map[string]bool{
	"token": true, "access_token": true, "refresh_token": true, "id_token": true, "admin_token": true,
	"csrf_token": true, "x_csrf_token": true, "csrf": true, "password": true, "secret": true, "client_secret": true,
	"authorization": true, "cookie": true, "set_cookie": true, "kek": true,
}

// redact is the guard. A group that is named like a secret hides all that is in it.
func redact(groups []string, a slog.Attr) slog.Attr {
	if isSecret(a.Key) || slices.ContainsFunc(groups, isSecret) {
		a.Value = slog.StringValue(Redacted)
	}
	return a
}

func isSecret(key string) bool {
	return secretKeys[strings.ReplaceAll(strings.ToLower(key), "-", "_")]
}
