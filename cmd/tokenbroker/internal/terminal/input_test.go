package terminal_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func TestAPasswordOnStandardInputIsOneLine(t *testing.T) {
	const password = "correct horse battery"
	for text, want := range map[string]string{
		password:                          "",
		password + "\n":                   "",
		password + "\r\n":                 "",
		"":                                "is empty",
		"\ufeff" + password + "\r\n":      "byte order mark",
		password + "\nbob\n":              "more than one line", // a loop's list, which the command would read
		password + " \n":                  "ends with a space",
		password + "\x1b[D\n":             "control character",
		strings.Repeat(password, 200):     "longer than 4096 bytes",
		"\n" + strings.Repeat("x", 1<<20): "more than one line",
	} {
		got, err := terminal.ReadPassword(t.Context(), strings.NewReader(text))
		if want == "" {
			if got != password || err != nil {
				t.Errorf("%.40q: got %q, %v", text, got, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%.40q: got %q, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestReadingALineEndsWithTheContext(t *testing.T) {
	r, w := io.Pipe()
	defer func() { _ = w.Close() }() // lets the read go
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := terminal.ReadLine(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
