package session

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxScanDepth bounds how deep the values of attributes may nest for a scan.
const maxScanDepth = 8

// scanner reads a record that is written exactly as Encode writes it: known members in their
// order, no space, no escapes. At the first other byte it gives up: failed is true, and
// nothing that was read counts. What it does read, encoding/json reads alike. Its strings
// share the record's text.
type scanner struct {
	text   string
	at     int
	failed bool
	begun  bool // a member was read
}

// next skips c if it stands there.
func (s *scanner) next(c byte) bool {
	if s.failed || s.at >= len(s.text) || s.text[s.at] != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) want(c byte) {
	if !s.next(c) {
		s.failed = true
	}
}

// member skips the name and the colon of the member that comes next, if it is that one.
func (s *scanner) member(name string) bool {
	if s.failed {
		return false
	}
	before := byte(',')
	if !s.begun {
		before = '{'
	}
	rest := s.text[s.at:]
	n := len(name)
	if len(rest) < n+4 || rest[0] != before || rest[1] != '"' || rest[2:2+n] != name || rest[2+n] != '"' || rest[3+n] != ':' {
		return false
	}
	s.at += n + 4
	s.begun = true
	return true
}

// end reports whether the object and the record end here, and all was read.
func (s *scanner) end() bool {
	s.want('}')
	return !s.failed && s.at == len(s.text)
}

func (s *scanner) str() string {
	s.want('"')
	if s.failed {
		return ""
	}
	rest := s.text[s.at:]
	ascii := true
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '"':
			s.at += i + 1
			if !ascii && !utf8.ValidString(rest[:i]) { // encoding/json replaces what is none
				s.failed = true
			}
			return rest[:i]
		case c < ' ', c == '\\':
			s.failed = true
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.failed = true
	return ""
}

// number returns the text of a whole number.
func (s *scanner) number() string {
	rest := s.text[min(s.at, len(s.text)):]
	n := 0
	if strings.HasPrefix(rest, "-") {
		n = 1
	}
	digits := n
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	if n == digits || rest[digits] == '0' && n > digits+1 {
		s.failed = true
		return ""
	}
	s.at += n
	return rest[:n]
}

func (s *scanner) int64() int64 {
	n, err := strconv.ParseInt(s.number(), 10, 64)
	if err != nil {
		s.failed = true
	}
	return n
}

func (s *scanner) uint32() uint32 {
	n, err := strconv.ParseUint(s.number(), 10, 32)
	if err != nil {
		s.failed = true
	}
	return uint32(n)
}

func (s *scanner) bytes() []byte {
	b, err := base64.StdEncoding.DecodeString(s.str())
	if err != nil {
		s.failed = true
	}
	return b
}

func (s *scanner) strings() []string {
	return scanList(s, (*scanner).str)
}

func (s *scanner) int64s() []int64 {
	return scanList(s, (*scanner).int64)
}

// scanList reads an array of at least one element.
func scanList[T any](s *scanner, element func(*scanner) T) []T {
	s.want('[')
	list := make([]T, 0, keptRotations) // the longest of the usual ones
	for !s.failed {
		list = append(list, element(s))
		if s.next(']') {
			return list
		}
		s.want(',')
	}
	return nil
}

// object reads the JSON object of free members that attributes are.
func (s *scanner) object(depth int) map[string]any {
	s.want('{')
	members := map[string]any{}
	if s.next('}') {
		return members
	}
	for !s.failed {
		name := s.str()
		s.want(':')
		members[name] = s.value(depth)
		if s.next('}') {
			return members
		}
		s.want(',')
	}
	return nil
}

func (s *scanner) value(depth int) any {
	if s.failed || s.at >= len(s.text) || depth > maxScanDepth {
		s.failed = true
		return nil
	}
	switch c := s.text[s.at]; {
	case c == '"':
		return s.str()
	case c == '{':
		return s.object(depth + 1)
	case c == '[':
		if s.word("[]") {
			return []any{}
		}
		return scanList(s, func(s *scanner) any { return s.value(depth + 1) })
	case c == '-' || c >= '0' && c <= '9':
		n := s.number()
		if s.at < len(s.text) && strings.IndexByte(".eE", s.text[s.at]) >= 0 {
			s.failed = true // rare, and its grammar is encoding/json's business
		}
		return json.Number(n)
	}
	if s.word("null") {
		return nil
	}
	return s.bool()
}

func (s *scanner) bool() bool {
	yes := s.word("true")
	if !yes && !s.word("false") {
		s.failed = true
	}
	return yes
}

// word skips text if it stands there.
func (s *scanner) word(text string) bool {
	if s.failed || !strings.HasPrefix(s.text[s.at:], text) {
		return false
	}
	s.at += len(text)
	return true
}
