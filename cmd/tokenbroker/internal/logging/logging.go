// Package logging makes the process's logger: text or JSON, with a level that can be changed
// while it runs, and a guard that redacts attributes whose key names a secret.
//
// The guard is a second line of defence: code that logs is to leave secrets out by itself.
// It sees keys, not what is in messages, errors or the fields of a struct.
package logging

import (
	"context"
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
	// Level may be changed at any time. If nil, it is info.
	Level *slog.LevelVar
	// Format is FormatJSON, one object a line, or FormatText, which is the default.
	Format string
}

// New makes a logger that writes to w, one call a line. It is safe for concurrent use.
func New(w io.Writer, cfg Config) *slog.Logger {
	opts := &slog.HandlerOptions{ReplaceAttr: redact, Level: slog.LevelDebug}
	var h slog.Handler = slog.NewTextHandler(w, opts)
	if cfg.Format == FormatJSON {
		h = slog.NewJSONHandler(w, opts)
	}
	var level slog.Leveler = slog.LevelInfo
	if cfg.Level != nil {
		level = cfg.Level
	}
	return slog.New(leveled{h, level})
}

// Audit returns a logger that writes where l, which [New] made, does, and writes level info and
// above whatever the level of l is.
func Audit(l *slog.Logger) *slog.Logger {
	h, ok := l.Handler().(leveled)
	if !ok {
		return l
	}
	return slog.New(leveled{h.Handler, atMostInfo{h.level}})
}

// leveled writes what is at its level or above it.
type leveled struct {
	slog.Handler
	level slog.Leveler
}

// Enabled implements [slog.Handler].
func (h leveled) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// WithAttrs implements [slog.Handler].
func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup implements [slog.Handler].
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.level}
}

// atMostInfo is a level, or info where that is lower.
type atMostInfo struct{ slog.Leveler }

// Level implements [slog.Leveler].
func (l atMostInfo) Level() slog.Level { return min(slog.LevelInfo, l.Leveler.Level()) }

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
