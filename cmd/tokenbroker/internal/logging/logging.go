// Package logging makes the process's logger. It writes text or JSON, its level can be changed at run time,
// and it redacts attributes whose key names a secret.
//
// Redaction is a second line of defence: code must not log secrets in the first place. It checks only
// keys, not the text of messages and errors or the fields of a struct.
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

// Redacted is written in place of a secret.
const Redacted = "[redacted]"

// Config configures a logger. The zero value means text at level info.
type Config struct {
	// Level may be changed at any time. If nil, it is info.
	Level *slog.LevelVar
	// Format is FormatJSON, one object per line, or FormatText. If empty, it is FormatText.
	Format string
}

// New returns a logger that writes to w, one call of Write per line. It is safe for concurrent use.
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

// Audit returns a logger with the output of l, which must be a logger of [New]. It writes records of level
// info and above, even if the level of l is higher.
func Audit(l *slog.Logger) *slog.Logger {
	h, ok := l.Handler().(leveled)
	if !ok {
		return l
	}
	return slog.New(leveled{h.Handler, atMostInfo{h.level}})
}

// leveled is a handler that writes the records at or above its level.
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

// atMostInfo is the lower of a level and info.
type atMostInfo struct{ slog.Leveler }

// Level implements [slog.Leveler].
func (l atMostInfo) Level() slog.Level { return min(slog.LevelInfo, l.Leveler.Level()) }

// secretKeys are the keys, in lower case with underscores, whose values are never written.
var secretKeys = map[string]bool{
	"token": true, "access_token": true, "refresh_token": true, "id_token": true, "admin_token": true,
	"csrf_token": true, "x_csrf_token": true, "csrf": true, "password": true, "secret": true, "client_secret": true,
	"authorization": true, "cookie": true, "set_cookie": true, "kek": true,
}

// redact replaces the values of secret keys, and all values within a group that has the name of one.
func redact(groups []string, a slog.Attr) slog.Attr {
	if isSecret(a.Key) || slices.ContainsFunc(groups, isSecret) {
		a.Value = slog.StringValue(Redacted)
	}
	return a
}

func isSecret(key string) bool {
	return secretKeys[strings.ReplaceAll(strings.ToLower(key), "-", "_")]
}
