package api

import (
	"slices"
	"strings"
)

// scannedMembers is how many members a body may have for a scan.
const scannedMembers = 4

// scanMembers reads what nearly every body is: a few members that are strings of ASCII
// without escapes. It does then what [parseMembers] would; with false it has set nothing, and
// parseMembers has to look, and to find the words for a refusal.
func scanMembers(body string, want []member) bool {
	s := bodyScanner{rest: body}
	var names, values [scannedMembers]string
	n := 0
	if !s.skip('{') {
		return false
	}
	for {
		if n == scannedMembers {
			return false
		}
		var ok [2]bool
		names[n], ok[0] = s.text()
		if !ok[0] || !s.skip(':') || slices.Contains(names[:n], names[n]) {
			return false
		}
		if values[n], ok[1] = s.text(); !ok[1] {
			return false
		}
		n++
		if s.skip('}') {
			break
		}
		if !s.skip(',') {
			return false
		}
	}
	if s.space(); s.rest != "" {
		return false
	}
	for _, m := range want {
		if _, ok := m.value.(*string); !ok && slices.Contains(names[:n], m.name) {
			return false
		}
	}
	for _, m := range want {
		if i := slices.Index(names[:n], m.name); i >= 0 {
			*m.value.(*string) = values[i]
		}
	}
	return true
}

type bodyScanner struct{ rest string }

func (s *bodyScanner) space() { s.rest = strings.TrimLeft(s.rest, " \t\r\n") }

// skip skips white space and c, if c stands there.
func (s *bodyScanner) skip(c byte) bool {
	s.space()
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *bodyScanner) text() (string, bool) {
	if !s.skip('"') {
		return "", false
	}
	for i := range len(s.rest) {
		switch c := s.rest[i]; {
		case c == '"':
			text := s.rest[:i]
			s.rest = s.rest[i+1:]
			return text, true
		case c < ' ', c == '\\', c > '~':
			return "", false
		}
	}
	return "", false
}
