package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/logging"
)

const hidden = "hunter2-in-clear"

func TestSecretsAreRedactedByKey(t *testing.T) {
	for _, key := range []string{
		"token", "access_token", "refresh_token", "id_token", "password", "secret", "client_secret",
		"authorization", "cookie", "csrf_token", "kek",
		"CSRF_token", "Authorization", "Set-Cookie", "X-CSRF-Token", "PASSWORD",
	} {
		for _, format := range []string{logging.FormatText, logging.FormatJSON} {
			for how, write := range map[string]func(*slog.Logger){
				"an attribute":         func(l *slog.Logger) { l.Info("m", key, hidden) },
				"of the logger":        func(l *slog.Logger) { l.With(key, hidden).Info("m") },
				"in a group":           func(l *slog.Logger) { l.Info("m", slog.Group("g", key, hidden)) },
				"the name of a group":  func(l *slog.Logger) { l.Info("m", slog.Group(key, "value", hidden)) },
				"a group of a logger":  func(l *slog.Logger) { l.WithGroup(key).Info("m", "value", hidden) },
				"not even as bytes":    func(l *slog.Logger) { l.Info("m", key, []byte(hidden)) },
				"nor inside of a list": func(l *slog.Logger) { l.Info("m", key, []string{hidden}) },
			} {
				t.Run(key+" "+format+" "+how, func(t *testing.T) {
					var out bytes.Buffer
					write(logging.New(&out, logging.Config{Format: format}))
					if strings.Contains(out.String(), hidden) || !strings.Contains(out.String(), logging.Redacted) {
						t.Errorf("logged %s", out.String())
					}
				})
			}
		}
	}
}

func TestOtherKeysAreWritten(t *testing.T) {
	for _, key := range []string{"uid", "sid", "kid", "token_type", "event", "request_id", "passwords_checked"} {
		var out bytes.Buffer
		logging.New(&out, logging.Config{}).Info("m", key, "value")
		if !strings.Contains(out.String(), key+"=value") {
			t.Errorf("logged %s", out.String())
		}
	}
}

func TestFormats(t *testing.T) {
	var out bytes.Buffer
	logging.New(&out, logging.Config{Format: logging.FormatJSON}).Info("several\nlines", "event", "sign_in")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "several\nlines" || line["event"] != "sign_in" || line["level"] != "INFO" {
		t.Errorf("json: %v, %v", line, err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines for one call", n)
	}
	out.Reset()
	logging.New(&out, logging.Config{}).Info("hello", "n", 1)
	if !strings.HasSuffix(out.String(), "level=INFO msg=hello n=1\n") {
		t.Errorf("text: %s", out.String())
	}
}

// Audit lines are written at every level of the logger, and debug ones only at level debug.
func TestAuditIsIndependentOfTheLevel(t *testing.T) {
	for _, format := range []string{logging.FormatText, logging.FormatJSON} {
		var out bytes.Buffer
		level := new(slog.LevelVar)
		logger := logging.New(&out, logging.Config{Level: level, Format: format})
		audit := logging.Audit(logger)
		level.Set(slog.LevelError)
		logger.With("a", 1).Warn("quiet")
		audit.With("a", 1).WithGroup("g").Info("first", "password", hidden)
		audit.Debug("quiet")
		level.Set(slog.LevelDebug)
		audit.Debug("second")
		got := out.String()
		if strings.Contains(got, "quiet") || !strings.Contains(got, "first") || !strings.Contains(got, "second") || strings.Contains(got, hidden) {
			t.Errorf("logged %s", got)
		}
	}
}

func TestTheLevelCanBeChangedWhileItRuns(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	logger := logging.New(&out, logging.Config{Level: level})
	child := logger.With("part", "p")
	child.Debug("first")
	level.Set(slog.LevelDebug)
	child.Debug("second")
	level.Set(slog.LevelError)
	child.Info("third")
	if got := out.String(); strings.Contains(got, "first") || !strings.Contains(got, "second") || strings.Contains(got, "third") {
		t.Errorf("logged %s", got)
	}
}
