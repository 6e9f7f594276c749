package plainjson

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	errNotObject = errors.New("not a JSON object")
	errNotPlain  = errors.New("not plain JSON")
	errDuplicate = errors.New("duplicate member")
	errAmbiguous = errors.New("two member names differ only in case")
	errTooDeep   = errors.New("JSON nested too deeply")
	errTooMany   = errors.New("too many members")
)

// Reader reads plain JSON from front to back, one call for each value. The caller knows which value
// comes next. At any other text the Reader fails: from then on each method returns the zero value,
// and [Reader.Done] returns false. The caller then discards the values and decodes the text with
// encoding/json. Strings are substrings of the text. A Reader is not safe for concurrent use.
type Reader struct {
	text  string
	at    int
	depth int  // number of open objects and arrays
	first bool // an object or array was just opened, so no comma precedes the next value
	err   error

	// form is the form of JSON that is accepted.
	form form
}

type form uint8

const (
	plain       form = iota
	valid            // any JSON that json.Valid accepts
	unambiguous      // the same, without two names that differ only in case
)

// NewReader returns a Reader of text.
func NewReader(text string) Reader {
	r := Reader{text: text}
	if !isPlain(text) {
		r.fail(errNotPlain)
	}
	return r
}

// isPlain reports whether text has no escape and no control character, and is valid UTF-8:
// then a string ends at the next quote, and each character stands for itself.
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

// Done reports whether the whole text was read and the Reader did not fail.
func (r *Reader) Done() bool {
	return r.peek() == 0 && r.at == len(r.text) && r.err == nil
}

// Fail makes the Reader fail. A caller calls it for a value that it does not accept.
func (r *Reader) Fail() { r.fail(errNotPlain) }

// fail records the first error and skips the rest of the text.
func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.text)
}

// peek returns the next character, 0 at the end.
func (r *Reader) peek() byte {
	for r.at < len(r.text) {
		c := r.text[r.at]
		if r.form == plain || c > ' ' {
			return c
		}
		r.at++
	}
	return 0
}

// next reads c, if it comes next.
func (r *Reader) next(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

func (r *Reader) want(c byte) {
	if !r.next(c) {
		r.fail(errNotPlain)
	}
}

// Object reads the start of an object. Its members are read with [Reader.Name], or with
// [Reader.Field] and [Reader.End].
func (r *Reader) Object() { r.open('{') }

// Array reads the start of an array. Its elements are read with [Reader.More].
func (r *Reader) Array() { r.open('[') }

func (r *Reader) open(c byte) {
	r.want(c)
	if r.depth == maxDepth {
		r.fail(errTooDeep)
	}
	r.depth++
	r.first = true
}

// more reads the comma or the end before what comes next in an object or an array.
func (r *Reader) more(end byte) bool {
	if r.next(end) {
		r.depth--
		r.first = false
		return false
	}
	if !r.first {
		r.want(',')
	}
	r.first = false
	return r.err == nil
}

// More reports whether the array has another element. If not, it has read the array's end.
func (r *Reader) More() bool { return r.more(']') }

// Name reads the name of the object's next member. If there is none, ok is false and the
// object's end was read.
func (r *Reader) Name() (name string, ok bool) {
	if !r.more('}') {
		return "", false
	}
	name = r.String()
	r.want(':')
	return name, r.err == nil
}

// Field reads the name of the object's next member if it is name, and reports whether it is. It is
// for objects whose members have a known order.
func (r *Reader) Field(name string) bool {
	at := r.at
	if !r.first {
		at++
	}
	n := len(name)
	if len(r.text)-at < n+3 || !r.first && r.text[at-1] != ',' ||
		r.text[at] != '"' || r.text[at+1:at+1+n] != name || r.text[at+1+n] != '"' || r.text[at+2+n] != ':' {
		return false
	}
	r.at = at + n + 3
	r.first = false
	return true
}

// End reads the end of an object whose members were read with [Reader.Field].
func (r *Reader) End() {
	if r.more('}') {
		r.fail(errNotPlain)
	}
}

// String reads a string.
func (r *Reader) String() string {
	quoted := r.quoted()
	if r.form == plain && quoted != "" {
		return quoted[1 : len(quoted)-1]
	}
	text, err := String(quoted)
	if err != nil {
		r.fail(err)
	}
	return text
}

// quoted reads a string and returns it as written, with its quotes.
func (r *Reader) quoted() string {
	if r.peek() != '"' {
		r.fail(errNotPlain)
		return ""
	}
	start := r.at
	rest := r.text[start+1:]
	if r.form == plain {
		n := strings.IndexByte(rest, '"')
		if n < 0 {
			r.fail(errNotPlain)
			return ""
		}
		r.at += n + 2
		return r.text[start:r.at]
	}
	for r.at++; r.text[r.at] != '"'; r.at++ {
		if r.text[r.at] == '\\' {
			r.at++
		}
	}
	r.at++
	return r.text[start:r.at]
}

// Int64 reads a whole number.
func (r *Reader) Int64() int64 {
	n, err := strconv.ParseInt(r.number(), 10, 64)
	if err != nil {
		r.fail(errNotPlain)
	}
	return n
}

// Uint64 reads a whole number without sign, of at most that many bits.
func (r *Reader) Uint64(bits int) uint64 {
	n, err := strconv.ParseUint(r.number(), 10, bits)
	if err != nil {
		r.fail(errNotPlain)
	}
	return n
}

// number reads a number and returns it as written. The next call checks what follows it.
func (r *Reader) number() string {
	c := r.peek()
	start := r.at
	if r.form != plain {
		for r.at < len(r.text) && strings.IndexByte(",]} \t\r\n", r.text[r.at]) < 0 {
			r.at++
		}
		return r.text[start:r.at]
	}
	if c == '-' {
		r.at++
	}
	digits := r.at
	for c := r.peek(); '0' <= c && c <= '9'; c = r.peek() {
		r.at++
	}
	if r.at == digits || r.text[digits] == '0' && r.at > digits+1 {
		r.fail(errNotPlain)
		return ""
	}
	return r.text[start:r.at]
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	if r.peek() == 't' {
		return r.literal("true")
	}
	r.literal("false")
	return false
}

func (r *Reader) literal(text string) bool {
	if !strings.HasPrefix(r.text[r.at:], text) {
		r.fail(errNotPlain)
		return false
	}
	r.at += len(text)
	return true
}
