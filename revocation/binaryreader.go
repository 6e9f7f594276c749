package revocation

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"unicode/utf8"
)

// readBuffer is the number of bytes that are read at a time.
const readBuffer = 64 << 10

// binaryReader reads one answer. Bytes that were taken from buf are added to the checksum when buf is
// filled again.
type binaryReader struct {
	src      io.Reader // if nil, buf has all data and belongs to the caller
	buf      []byte
	pos, end int
	sum      uint32
	summed   int

	at int64 // of the previous event

	// ids receives the jti and sid that fit 16 bytes. If nil, they become events of the answer.
	ids *idLoader
}

// event reads one event after its tag. It returns the zero event if ids took it.
func (d *binaryReader) event(tag byte) (Event, error) {
	var e Event
	code := int(tag & tagKind)
	if code == 0 || code >= len(kindCodes) || tag&^(tagKind|tagPacked|tagEpoch) != 0 {
		return e, fmt.Errorf("%w: tag %#x", ErrUnknownKind, tag)
	}
	e.Kind = kindCodes[code]
	if tag&tagPacked != 0 && e.Kind != KindJTI && e.Kind != KindSID {
		return e, fmt.Errorf("%w: a packed %s", ErrMalformed, e.Kind)
	}
	var err error
	if e.Reason, err = d.reason(); err != nil {
		return e, err
	}
	var packed id
	direct := d.ids != nil && tag&tagPacked != 0
	if direct {
		data, err := d.take(len(packed))
		if err != nil {
			return e, err
		}
		packed = id(data)
	} else if e.Value, err = d.value(e.Kind, tag&tagPacked != 0); err != nil {
		return e, err
	}
	if e.At, err = d.timeNear(d.at); err != nil {
		return e, err
	}
	if e.ExpiresAt, err = d.timeNear(e.At); err != nil {
		return e, err
	}
	if tag&tagEpoch != 0 {
		if e.Epoch, err = d.number(math.MaxInt64); err != nil {
			return e, err
		}
		if e.Epoch == 0 {
			return e, fmt.Errorf("%w: an epoch of zero", ErrMalformed)
		}
	}
	d.at = e.At
	if direct {
		if err := e.checkNumbers(); err != nil {
			return e, err
		}
		d.ids.put(idEvent{at: e.At, end: e.ExpiresAt, id: packed, kind: tableKindOf(e.Kind)})
		return Event{}, nil
	}
	return e, e.mustBeKnown()
}

func (d *binaryReader) reason() (Reason, error) {
	code, err := d.byte()
	switch {
	case err != nil:
		return "", err
	case int(code) >= len(reasonCodes):
		return "", fmt.Errorf("%w: reason %d", ErrMalformed, code)
	case code > 0:
		return reasonCodes[code], nil
	}
	text, err := d.text(maxText)
	if err == nil && reasonCode(Reason(text)) != 0 {
		err = fmt.Errorf("%w: a reason as text that has a number", ErrMalformed)
	}
	return Reason(text), err
}

func (d *binaryReader) value(kind Kind, packed bool) (string, error) {
	if packed {
		data, err := d.take(16)
		if err != nil {
			return "", err
		}
		return unpack(kind, data), nil
	}
	if kind == KindAll {
		return "", nil
	}
	text, err := d.text(maxText)
	if err != nil {
		return "", err
	}
	if _, ok := pack(kind, text); ok {
		return "", fmt.Errorf("%w: a %s as text that fits 16 bytes", ErrMalformed, kind)
	}
	return text, nil
}

// timeNear reads a time (Unix seconds) as its distance from another.
func (d *binaryReader) timeNear(base int64) (int64, error) {
	n, err := d.uvarint()
	if err != nil {
		return 0, err
	}
	delta := int64(n>>1) ^ -int64(n&1)
	if delta > maxMillis || delta < -maxMillis {
		return 0, fmt.Errorf("%w: a time out of bounds", ErrMalformed)
	}
	return base + delta, nil
}

// number reads a varint of at most limit.
func (d *binaryReader) number(limit int64) (int64, error) {
	n, err := d.uvarint()
	if err != nil {
		return 0, err
	}
	if n > uint64(limit) {
		return 0, fmt.Errorf("%w: %d is more than %d", ErrMalformed, n, limit)
	}
	return int64(n), nil
}

// uvarint reads 7 bits a byte, the lowest first, and refuses padding.
func (d *binaryReader) uvarint() (uint64, error) {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := d.byte()
		if err != nil {
			return 0, err
		}
		if shift == 63 && b > 1 || shift > 0 && b == 0 {
			break
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: a number that is padded or too large", ErrMalformed)
}

func (d *binaryReader) text(limit int64) (string, error) {
	n, err := d.number(limit)
	if err != nil {
		return "", err
	}
	if n <= int64(d.end-d.pos) {
		s := string(d.buf[d.pos : d.pos+int(n)])
		d.pos += int(n)
		return s, validUTF8(s)
	}
	var out []byte
	for int64(len(out)) < n {
		if d.pos == d.end {
			if err := d.fill(); err != nil {
				return "", err
			}
		}
		some := d.buf[d.pos:min(int64(d.end), int64(d.pos)+n-int64(len(out)))]
		out = append(out, some...)
		d.pos += len(some)
	}
	return string(out), validUTF8(string(out))
}

func validUTF8(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: a text that is not UTF-8", ErrMalformed)
	}
	return nil
}

func (d *binaryReader) byte() (byte, error) {
	if d.pos == d.end {
		if err := d.fill(); err != nil {
			return 0, err
		}
	}
	d.pos++
	return d.buf[d.pos-1], nil
}

// take returns the next n bytes, where n is small. They are valid until the next call.
func (d *binaryReader) take(n int) ([]byte, error) {
	for d.end-d.pos < n {
		if err := d.fill(); err != nil {
			return nil, err
		}
	}
	d.pos += n
	return d.buf[d.pos-n : d.pos], nil
}

// sumTaken adds the bytes that were taken to the checksum.
func (d *binaryReader) sumTaken() {
	d.sum = crc32.Update(d.sum, castagnoli, d.buf[d.summed:d.pos])
	d.summed = d.pos
}

// fill reads more data after the rest of buf. The end of the input is io.ErrUnexpectedEOF.
func (d *binaryReader) fill() error {
	if d.src == nil {
		return io.ErrUnexpectedEOF
	}
	d.sumTaken()
	d.end = copy(d.buf, d.buf[d.pos:d.end])
	d.pos, d.summed = 0, 0
	n, err := io.ReadAtLeast(d.src, d.buf[d.end:], 1)
	d.end += n
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// DecodeEvent decodes an event that [AppendEvent] wrote and returns an error for any other data. It
// neither retains nor changes data.
func DecodeEvent(data []byte) (Event, error) {
	d := binaryReader{buf: data, end: len(data)}
	if len(data) == 0 {
		return Event{}, fmt.Errorf("decoding an event: %w: it is empty", ErrMalformed)
	}
	d.pos = 1
	e, err := d.event(data[0])
	if err != nil {
		return Event{}, fmt.Errorf("decoding an event: %w", err)
	}
	if d.pos != d.end {
		return Event{}, fmt.Errorf("decoding an event: %w: data after it", ErrMalformed)
	}
	return e, nil
}
