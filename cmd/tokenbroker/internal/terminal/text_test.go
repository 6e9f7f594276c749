package terminal_test

import (
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"ada": "ada", "Zoë 数": "Zoë 数", "a\x1b[31mb": `"a\x1b[31mb"`, "a\nb": `"a\nb"`, "\u009b2J": `"\u009b2J"`,
		"a\u202eb": `"a\u202eb"`, "a\xffb": `"a\xffb"`, "tab\t": `"tab\t"`,
	} {
		if got := terminal.Plain(text); got != want {
			t.Errorf("Plain(%q) = %s, want %s", text, got, want)
		}
	}
}
