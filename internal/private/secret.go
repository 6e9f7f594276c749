package private

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSecret is the largest size of a file with a secret, in bytes.
const maxSecret = 64 << 10

// ReadSecret reads the secret in a file that an operator names (see [ReadNamed] and
// [SecretLine]) and returns the file's mode.
func ReadSecret(path string) (secret string, mode fs.FileMode, err error) {
	text, mode, err := ReadNamed(path, maxSecret)
	if err != nil {
		return "", 0, err
	}
	if secret, err = SecretLine(text); err != nil {
		return "", 0, fmt.Errorf("the file %s %w", path, err)
	}
	return secret, mode, nil
}

// SecretLine returns the secret in text: one line of UTF-8 without the LF or CRLF at its end.
// It refuses characters that an editor or a shell adds invisibly, because another
// reader of the same text would read another secret. The error states the broken rule without a
// subject ("is empty") and without any of the text.
func SecretLine(text string) (string, error) {
	line, cut := strings.CutSuffix(text, "\n")
	if cut {
		line = strings.TrimSuffix(line, "\r")
	}
	first, _ := utf8.DecodeRuneInString(line)
	last, _ := utf8.DecodeLastRuneInString(line)
	switch {
	case line == "":
		return "", errors.New("is empty")
	case strings.HasPrefix(line, "\ufeff"), strings.HasPrefix(line, "\xff\xfe"), strings.HasPrefix(line, "\xfe\xff"):
		return "", errors.New("begins with a byte order mark (BOM): save it as UTF-8 without one")
	case strings.ContainsAny(line, "\n\r\u0085\u2028\u2029"):
		return "", errors.New("has more than one line: a secret is one line")
	case !utf8.ValidString(line):
		return "", errors.New("is not UTF-8 text")
	case strings.ContainsFunc(line, unicode.IsControl):
		return "", errors.New("contains a control character, such as a tab: a secret is one line of printable text")
	case blank(first):
		return "", errors.New("begins with a space: remove it")
	case blank(last):
		return "", errors.New("ends with a space: remove it")
	}
	return line, nil
}

// blank reports whether c is displayed as a space or not at all.
func blank(c rune) bool { return unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) }
