package revocation

import (
	"encoding/binary"
	"fmt"
)

// AnswerPart encodes some events of a binary answer while other parts are encoded at the same time. The
// zero value is ready for use. It is not safe for concurrent use.
type AnswerPart struct {
	form  binaryForm // of the events after first
	first Event      // encoded last, because it depends on the event before it
	any   bool
	text  chunks
}

// AddEncoded adds an event that [AppendEvent] wrote. It returns an error for any other data.
func (p *AnswerPart) AddEncoded(data []byte) error {
	if p.any && p.copyID(data) {
		return nil
	}
	e, err := DecodeEvent(data)
	if err != nil {
		return err
	}
	if !p.any {
		p.any, p.first, p.form.at = true, e, e.At
		return nil
	}
	p.text.last, err = p.form.event(p.text.last, e)
	p.text.rotate()
	return err
}

// copyID copies an event of the most frequent form, in which only the distance in time
// differs between answers. It reports whether data has that form.
func (p *AnswerPart) copyID(data []byte) bool {
	times, ok := packedTimes(data)
	if !ok {
		return false
	}
	p.text.last = append(p.text.last, data[:packedLen]...)
	p.text.last = binary.AppendVarint(p.text.last, times.at-p.form.at)
	p.text.last = append(p.text.last, data[times.length:]...)
	p.form.at = times.at
	p.form.count++
	p.text.rotate()
	return true
}

// packedLen is an event's tag, reason and 16 bytes, from packedID on.
const (
	packedID  = 2
	packedLen = packedID + 16
)

// packed contains the fields that follow them.
type packed struct {
	at, end int64
	length  int // where the event's length begins
}

// packedTimes reads a separate event, if it is a jti or sid in 16 bytes with a
// known reason, as nearly all are. For any other event ok is false; it may still be valid.
func packedTimes(data []byte) (t packed, ok bool) {
	if len(data) < packedLen+2 || data[0]&^tagKind != tagPacked || data[1] == 0 || int(data[1]) >= len(reasonCodes) {
		return t, false
	}
	if kind := data[0] & tagKind; kind != tagJTI && kind != tagSID {
		return t, false
	}
	at, n := binary.Varint(data[packedLen:])
	if n <= 0 {
		return t, false
	}
	t.length = packedLen + n
	length, m := binary.Varint(data[t.length:])
	if m <= 0 || t.length+m != len(data) || data[t.length-1] == 0 && n > 1 || data[len(data)-1] == 0 && m > 1 {
		return t, false
	}
	t.at, t.end = at, at+length
	return t, at >= 0 && at <= maxMillis && length >= -maxMillis && length <= maxMillis && t.end >= 0 && t.end <= maxMillis
}

// AddPart adds the events of a part, which must not be used afterwards. It returns an error if the
// builder's form is not the binary one.
func (b *AnswerBuilder) AddPart(p *AnswerPart) error {
	f, ok := b.form.(*binaryForm)
	if !ok {
		return fmt.Errorf("encoding a catch-up answer: a part is binary, the answer is %s", b.as)
	}
	if !p.any {
		return nil
	}
	if err := b.Add(p.first); err != nil {
		return err
	}
	f.at = p.form.at
	f.count += p.form.count
	b.text.full = append(append(b.text.full, b.text.last), p.text.full...)
	b.text.last = p.text.last
	return nil
}

// chunks is a long text in pieces.
type chunks struct {
	full [][]byte
	last []byte
}

// builderChunk is the size of the pieces in which an encoded answer is stored.
const builderChunk = 512 << 10

// rotate starts another piece when the last one is full.
func (c *chunks) rotate() {
	if len(c.last) >= builderChunk {
		c.full = append(c.full, c.last)
		c.last = make([]byte, 0, builderChunk+4096)
	}
}
