package revocation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// The binary form of an [Answer], byte by byte in docs/feed.md: a head, one record an
// event, an end with their number and a checksum. Every answer has exactly one encoding.

const (
	binaryMagic = "TBR" // then one byte, [Version]

	flagFull = 1 // of the head

	maxText = MaxBatchBytes // maximum length of a text, as none in a batch is longer
	maxKids = 1 << 16
)

// binaryForm writes one answer in the binary form.
type binaryForm struct {
	at    int64 // of the previous event
	count uint64
}

func (f *binaryForm) head(dst []byte, a *Answer) ([]byte, error) {
	if len(a.Kids) > maxKids {
		return dst, fmt.Errorf("%w: %d compromised keys", ErrMalformed, len(a.Kids))
	}
	dst = append(dst, binaryMagic...)
	dst = append(dst, Version)
	dst = appendText(dst, a.Store)
	dst = appendText(dst, a.Origin)
	for _, n := range []int64{a.Up, a.AtMS, a.TimeFloor} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	var flags byte
	if a.Full {
		flags = flagFull
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(a.Origins)))
	for _, o := range a.Origins {
		dst = appendText(dst, o.Origin)
		dst = binary.AppendUvarint(dst, o.Head)
	}
	dst = binary.AppendUvarint(dst, uint64(len(a.Kids)))
	for _, kid := range a.Kids {
		if err := checkText(kid); err != nil {
			return dst, err
		}
		dst = appendText(dst, kid)
	}
	return dst, nil
}

// tail ends an answer; sum is the checksum of all before it.
func (f *binaryForm) tail(sum uint32) []byte {
	dst := binary.AppendUvarint([]byte{tagEnd}, f.count)
	return binary.BigEndian.AppendUint32(dst, crc32.Update(sum, castagnoli, dst))
}

// DecodeBinaryAnswer reads the binary form of a catch-up answer ([FormBinary]) as it
// arrives and checks its bounds. Input that is cut short, damaged, of another version or of an
// unknown kind is an error, as is every encoding other than that of [EncodeAnswer].
// It reads to the end; the caller limits r. It allocates in proportion to what it has
// read, never by a length that the input states.
func DecodeBinaryAnswer(r io.Reader) (*Answer, error) {
	d := &binaryReader{src: r, buf: make([]byte, readBuffer)}
	a, err := d.answer()
	if err != nil {
		return nil, fmt.Errorf("decoding a catch-up answer: %w", err)
	}
	return a, nil
}

func (d *binaryReader) answer() (*Answer, error) {
	a, err := d.head()
	if err != nil {
		return nil, err
	}
	if err := a.checkHead(); err != nil {
		return nil, err
	}
	count := uint64(0)
	for ; ; count++ {
		tag, err := d.byte()
		if err != nil {
			return nil, err
		}
		if tag == tagEnd {
			break
		}
		e, err := d.event(tag)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", count, err)
		}
		if e != (Event{}) {
			a.Events = append(a.Events, e)
		}
	}
	if err := d.tail(count); err != nil {
		return nil, err
	}
	return a, nil
}

func (d *binaryReader) head() (*Answer, error) {
	magic, err := d.take(len(binaryMagic) + 1)
	if err != nil {
		return nil, err
	}
	if string(magic[:len(binaryMagic)]) != binaryMagic {
		return nil, fmt.Errorf("%w: not the binary form", ErrMalformed)
	}
	a := &Answer{V: int(magic[len(binaryMagic)]), Origins: []OriginHead{}, Kids: []string{}, Events: []Event{}}
	if a.V != Version {
		return nil, fmt.Errorf("%w: version %d", ErrMalformed, a.V)
	}
	for _, into := range []*string{&a.Store, &a.Origin} {
		if *into, err = d.text(maxNameLength); err != nil {
			return nil, err
		}
	}
	for _, into := range []*int64{&a.Up, &a.AtMS, &a.TimeFloor} {
		if *into, err = d.number(maxMillis); err != nil {
			return nil, err
		}
	}
	flags, err := d.byte()
	if err != nil {
		return nil, err
	}
	if flags&^flagFull != 0 {
		return nil, fmt.Errorf("%w: flags %#x", ErrMalformed, flags)
	}
	a.Full = flags&flagFull != 0
	return a, d.lists(a)
}

func (d *binaryReader) lists(a *Answer) error {
	n, err := d.number(MaxOrigins)
	for ; err == nil && n > 0; n-- {
		var o OriginHead
		var head int64
		if o.Origin, err = d.text(maxNameLength); err != nil {
			break
		}
		head, err = d.number(MaxSeq)
		o.Head = uint64(head)
		a.Origins = append(a.Origins, o)
	}
	if err != nil {
		return err
	}
	n, err = d.number(maxKids)
	for ; err == nil && n > 0; n-- {
		var kid string
		kid, err = d.text(maxText)
		a.Kids = append(a.Kids, kid)
	}
	return err
}

// tail reads the end after its tag.
func (d *binaryReader) tail(count uint64) error {
	n, err := d.number(math.MaxInt64)
	if err != nil {
		return err
	}
	d.sumTaken()
	want := d.sum
	sum, err := d.take(4)
	if err != nil {
		return err
	}
	if uint64(n) != count || binary.BigEndian.Uint32(sum) != want {
		return fmt.Errorf("%w: number of events or checksum", ErrMalformed)
	}
	if _, err := d.byte(); err == nil {
		return fmt.Errorf("%w: data after the answer", ErrMalformed)
	} else if !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil
}
