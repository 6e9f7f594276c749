package revocation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrUnknownKind is returned if an answer has an event of a kind that this version cannot apply. Such an
// answer proves nothing. The error names the kind.
var ErrUnknownKind = errors.New("revocation event of an unknown kind")

// DecodeAnswer reads the JSON form of a catch-up answer and checks its bounds. It reads r to
// the end, so the caller limits its length. An answer of another version is an error, because its
// meaning is not fully known.
func DecodeAnswer(r io.Reader) (*Answer, error) {
	var a Answer
	dec := json.NewDecoder(r)
	if err := dec.Decode(&a); err != nil {
		return nil, fmt.Errorf("decoding a catch-up answer: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decoding a catch-up answer: %w: data after the answer", ErrMalformed)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("decoding a catch-up answer: %w", err)
	}
	return &a, nil
}

func (a *Answer) check() error {
	if err := a.checkHead(); err != nil {
		return err
	}
	for _, e := range a.Events {
		if err := e.mustBeKnown(); err != nil {
			return err
		}
	}
	return nil
}

// checkHead checks all members except the events.
func (a *Answer) checkHead() error {
	if a.V != Version {
		return fmt.Errorf("%w: version %d", ErrMalformed, a.V)
	}
	if !validName(a.Store) || !validName(a.Origin) || a.Up < 0 || a.Up > maxMillis ||
		a.AtMS < 0 || a.AtMS > maxMillis || a.TimeFloor < 0 || a.TimeFloor > maxMillis {
		return fmt.Errorf("%w: out of bounds", ErrMalformed)
	}
	if len(a.Origins) > MaxOrigins {
		return fmt.Errorf("%w: %d origins", ErrMalformed, len(a.Origins))
	}
	listed := false
	for _, o := range a.Origins {
		if !validName(o.Origin) || o.Head > MaxSeq {
			return fmt.Errorf("%w: origin out of bounds", ErrMalformed)
		}
		listed = listed || o.Origin == a.Origin
	}
	if !listed {
		return fmt.Errorf("%w: the answering origin is not listed", ErrMalformed)
	}
	return nil
}

// Form is an encoding of a catch-up answer, named by its media type.
type Form string

// The forms of an answer. Both have the same content.
const (
	FormJSON   Form = "application/json"
	FormBinary Form = "application/vnd.tokenbroker.revocations"
)

// form writes one answer. Events may be written before the head is known.
type form interface {
	head(dst []byte, a *Answer) ([]byte, error)
	event(dst []byte, e Event) ([]byte, error)
	tail(sum uint32) []byte
}

func (f Form) begin() form {
	if f == FormBinary {
		return &binaryForm{}
	}
	return &jsonForm{}
}

// jsonForm writes the same bytes as [json.Marshal].
type jsonForm struct{ any bool }

func (*jsonForm) head(dst []byte, a *Answer) ([]byte, error) {
	h := *a
	h.Events = []Event{}
	if h.Kids == nil {
		h.Kids = []string{}
	}
	text, err := json.Marshal(h)
	return append(dst, bytes.TrimSuffix(text, []byte("]}"))...), err
}

func (f *jsonForm) event(dst []byte, e Event) ([]byte, error) {
	if f.any {
		dst = append(dst, ',')
	}
	f.any = true
	text, err := json.Marshal(e)
	return append(dst, text...), err
}

func (*jsonForm) tail(uint32) []byte { return []byte("]}") }

// encodeBuffer is the number of bytes that are encoded before they are written.
const encodeBuffer = 64 << 10

// EncodeAnswer writes an answer while it encodes it. It returns an error for an answer that the
// decoders would refuse; the bytes that it has already written are not a complete answer.
func EncodeAnswer(w io.Writer, as Form, a *Answer) error {
	if err := encodeAnswer(w, as, a); err != nil {
		return fmt.Errorf("encoding a catch-up answer: %w", err)
	}
	return nil
}

func encodeAnswer(w io.Writer, as Form, a *Answer) error {
	if err := a.checkHead(); err != nil {
		return err
	}
	f := as.begin()
	buf, err := f.head(nil, a)
	if err != nil {
		return err
	}
	var sum uint32
	for _, e := range a.Events {
		if err := e.mustBeKnown(); err != nil {
			return err
		}
		if buf, err = f.event(buf, e); err != nil {
			return err
		}
		if len(buf) >= encodeBuffer {
			sum = crc32.Update(sum, castagnoli, buf)
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	buf = append(buf, f.tail(crc32.Update(sum, castagnoli, buf))...)
	_, err = w.Write(buf)
	return err
}

// AnswerBuilder encodes an answer in memory whose head is known only after its events. Call Add for the
// events, then Finish. More events may be added for another Finish; earlier answers, which share memory
// with the builder, do not change. It is not safe for concurrent use.
type AnswerBuilder struct {
	as   Form
	form form
	text chunks
}

// NewAnswerBuilder starts an answer in that form.
func NewAnswerBuilder(as Form) *AnswerBuilder {
	return &AnswerBuilder{as: as, form: as.begin()}
}

// Add encodes the next events. It returns an error for one that a service would refuse.
func (b *AnswerBuilder) Add(events ...Event) error {
	for _, e := range events {
		if err := e.mustBeKnown(); err != nil {
			return fmt.Errorf("encoding a catch-up answer: %w", err)
		}
		var err error
		if b.text.last, err = b.form.event(b.text.last, e); err != nil {
			return fmt.Errorf("encoding a catch-up answer: %w", err)
		}
		b.text.rotate()
	}
	return nil
}

// Finish encodes the rest of a, whose Events are ignored.
func (b *AnswerBuilder) Finish(a Answer) (*EncodedAnswer, error) {
	if err := a.checkHead(); err != nil {
		return nil, fmt.Errorf("encoding a catch-up answer: %w", err)
	}
	head, err := b.form.head(nil, &a)
	if err != nil {
		return nil, fmt.Errorf("encoding a catch-up answer: %w", err)
	}
	e := &EncodedAnswer{form: b.as, parts: append([][]byte{head}, b.text.full...)}
	e.parts = append(e.parts, b.text.last)
	var sum uint32
	for _, part := range e.parts {
		if b.as == FormBinary {
			sum = crc32.Update(sum, castagnoli, part)
		}
		e.size += int64(len(part))
	}
	tail := b.form.tail(sum)
	e.parts = append(e.parts, tail)
	e.size += int64(len(tail))
	return e, nil
}

// EncodedAnswer is an encoded answer in memory. It is immutable and can be shared by any number of
// readers.
type EncodedAnswer struct {
	form  Form
	parts [][]byte
	size  int64
}

var _ io.WriterTo = (*EncodedAnswer)(nil)

// Form returns the media type.
func (e *EncodedAnswer) Form() Form { return e.form }

// Size returns the number of bytes.
func (e *EncodedAnswer) Size() int64 { return e.size }

// WriteTo implements [io.WriterTo]. It copies nothing.
func (e *EncodedAnswer) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for _, part := range e.parts {
		n, err := w.Write(part)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Reader returns a reader of the answer from its beginning.
func (e *EncodedAnswer) Reader() io.Reader {
	readers := make([]io.Reader, len(e.parts))
	for i, part := range e.parts {
		readers[i] = bytes.NewReader(part)
	}
	return io.MultiReader(readers...)
}
