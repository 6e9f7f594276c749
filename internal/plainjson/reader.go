package plainjson

import (
	"strings"
	"unicode/utf8"
)

// plainReader reads JSON of the form that brokers sign, in one pass: no white space, no escapes,
// whole numbers. It does not judge JSON of any other form.
type plainReader struct {
	text string
	at   int
}

// readPlain is [ReadObject] for JSON of that form. ok is false for any other.
func readPlain(text string, into []Member) (members []Member, ok bool) {
	if !isPlain(text) || text == "" || text[0] != '{' {
		return nil, false
	}
	p := plainReader{text: text}
	members, ok = p.object(0, into)
	return members, ok && p.at == len(text)
}

// isPlain reports whether there is no escape, no control character and only valid UTF-8:
// then a string ends at the next quote, and nothing in it can be wrong.
func isPlain(text string) bool {
	const (
		lows, highs         = 0x0101010101010101, 0x8080808080808080
		spaces, backslashes = lows * ' ', lows * '\\'
	)
	var odd, high uint64
	rest := text
	for ; len(rest) >= 8; rest = rest[8:] {
		w := uint64(rest[0]) | uint64(rest[1])<<8 | uint64(rest[2])<<16 | uint64(rest[3])<<24 |
			uint64(rest[4])<<32 | uint64(rest[5])<<40 | uint64(rest[6])<<48 | uint64(rest[7])<<56 // one load
		x := w ^ backslashes
		odd |= ((w - spaces) &^ w) | ((x - lows) &^ x)
		high |= w
	}
	for i := range len(rest) {
		if c := rest[i]; c < ' ' || c == '\\' {
			return false
		}
		high |= uint64(rest[i])
	}
	return odd&highs == 0 && (high&highs == 0 || utf8.ValidString(text))
}

// peek returns the next character, 0 at the end.
func (p *plainReader) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *plainReader) object(depth int, into []Member) ([]Member, bool) {
	first, seen := len(into), uint64(0)
	p.at++ // {
	if p.peek() == '}' {
		p.at++
		return into, depth < maxDepth
	}
	for depth < maxDepth {
		name, ok := p.str()
		if !ok || p.peek() != ':' {
			return nil, false
		}
		p.at++
		start := p.at
		if !p.value(depth + 1) {
			return nil, false
		}
		// Names that differ in this bit differ; only where it is set they are compared.
		bit := uint64(1) << (nameHash(name) % 64)
		if seen&bit != 0 && hasMember(into[first:], name) || len(into)-first == maxMembers {
			return nil, false
		}
		seen |= bit
		into = append(into, Member{name, p.text[start:p.at]})
		next := p.peek()
		p.at++
		switch next {
		case ',':
		case '}':
			return into, true
		default:
			return nil, false
		}
	}
	return nil, false
}

func nameHash(name string) uint64 {
	if name == "" {
		return 0
	}
	return uint64(len(name)) + 5*uint64(name[0]) + 7*uint64(name[len(name)/2]) + 11*uint64(name[len(name)-1])
}

func hasMember(members []Member, name string) bool {
	for i := range members {
		if members[i].Name == name {
			return true
		}
	}
	return false
}

func (p *plainReader) array(depth int) bool {
	p.at++ // [
	if p.peek() == ']' {
		p.at++
		return depth < maxDepth
	}
	for depth < maxDepth && p.value(depth+1) {
		next := p.peek()
		p.at++
		switch next {
		case ',':
		case ']':
			return true
		default:
			return false
		}
	}
	return false
}

// value goes past one value.
func (p *plainReader) value(depth int) (ok bool) {
	switch c := p.peek(); c {
	case '"':
		_, ok = p.str()
	case '{':
		_, ok = p.object(depth, nil)
	case '[':
		ok = p.array(depth)
	case 't':
		ok = p.literal("true")
	case 'f':
		ok = p.literal("false")
	case 'n':
		ok = p.literal("null")
	default:
		ok = p.number()
	}
	return ok
}

// str goes past one string and returns it without its quotes.
func (p *plainReader) str() (string, bool) {
	if p.peek() != '"' {
		return "", false
	}
	rest := p.text[p.at+1:]
	n := strings.IndexByte(rest, '"')
	if n < 0 {
		return "", false
	}
	p.at += n + 2
	return rest[:n], true
}

func (p *plainReader) literal(text string) bool {
	if !strings.HasPrefix(p.text[p.at:], text) {
		return false
	}
	p.at += len(text)
	return true
}

// number goes past a whole number; what follows it says whether it was one.
func (p *plainReader) number() bool {
	if p.peek() == '-' {
		p.at++
	}
	start := p.at
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > start && (p.text[start] != '0' || p.at == start+1)
}
