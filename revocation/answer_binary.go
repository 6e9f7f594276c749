package revocation

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"unicode/utf8"
)

// The binary form of an [Answer], byte by byte in docs/feed.md: a head, one record an
// event, an end with their number and a checksum. Every answer has exactly one encoding.

const (
	binaryMagic = "TBR" // then one byte, [Version]

	flagFull = 1 // of the head

	// An event's first byte.
	tagEnd    = 0 // no event: the end
	tagKind   = 0x07
	tagJTI    = 1 // the codes of the two kinds below, see kindCodes
	tagSID    = 2
	tagPacked = 0x08 // the value is a jti's or sid's 16 bytes
	tagEpoch  = 0x10 // an epoch follows

	maxText = MaxBatchBytes // no text of a batch is longer
	maxKids = 1 << 16
)

// kindCodes and reasonCodes are numbered by their place; place 0 is not a code.
var (
	kindCodes   = []Kind{"", KindJTI, KindSID, KindSub, KindClient, KindKID, KindAll}
	reasonCodes = []Reason{"", ReasonLogoff, ReasonReuse, ReasonRollback, ReasonRevoked, ReasonUserDisabled,
		ReasonAllOthers, ReasonBackchannel, ReasonUpstream, ReasonKeyCompromise, ReasonRestore}

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func kindCode(k Kind) byte {
	for code, one := range kindCodes[1:] {
		if one == k {
			return byte(code + 1)
		}
	}
	return 0
}

// reasonCode gives zero for a reason that is written as text.
func reasonCode(r Reason) byte {
	for code, one := range reasonCodes[1:] {
		if one == r {
			return byte(code + 1)
		}
	}
	return 0
}

// binaryForm writes one answer in the binary form.
type binaryForm struct {
	at    int64 // of the event before
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

// event appends a checked event.
func (f *binaryForm) event(dst []byte, e Event) ([]byte, error) {
	reason := reasonCode(e.Reason)
	tag := kindCode(e.Kind)
	packed, ok := pack(e.Kind, e.Value)
	if ok {
		tag |= tagPacked
	}
	if e.Epoch > 0 {
		tag |= tagEpoch
	}
	dst = append(dst, tag, reason)
	if reason == 0 {
		if err := checkText(string(e.Reason)); err != nil {
			return dst, err
		}
		dst = appendText(dst, string(e.Reason))
	}
	switch {
	case ok:
		dst = append(dst, packed[:]...)
	case e.Kind != KindAll:
		if err := checkText(e.Value); err != nil {
			return dst, err
		}
		dst = appendText(dst, e.Value)
	}
	dst = binary.AppendVarint(dst, e.At-f.at)
	dst = binary.AppendVarint(dst, e.ExpiresAt-e.At)
	if e.Epoch > 0 {
		dst = binary.AppendUvarint(dst, uint64(e.Epoch))
	}
	f.at = e.At
	f.count++
	return dst, nil
}

// tail ends an answer; sum is the checksum of all before it.
func (f *binaryForm) tail(sum uint32) []byte {
	dst := binary.AppendUvarint([]byte{tagEnd}, f.count)
	return binary.BigEndian.AppendUint32(dst, crc32.Update(sum, castagnoli, dst))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// checkText bounds what the binary form can hold, which is what JSON can hold as well.
func checkText(s string) error {
	if len(s) > maxText || !utf8.ValidString(s) {
		return fmt.Errorf("%w: a text of %d bytes is too long or not UTF-8", ErrMalformed, len(s))
	}
	return nil
}

// pack gives the 16 bytes of a jti (UUID) or sid (base32) in canonical form.
func pack(kind Kind, value string) ([16]byte, bool) {
	if kind != KindJTI && kind != KindSID {
		return [16]byte{}, false
	}
	return idOf(kind, value)
}

// unpack is the inverse of pack.
func unpack(kind Kind, data []byte) string {
	if kind == KindSID {
		return sidEncoding.EncodeToString(data)
	}
	var out [36]byte
	hex.Encode(out[:8], data[:4])
	hex.Encode(out[9:13], data[4:6])
	hex.Encode(out[14:18], data[6:8])
	hex.Encode(out[19:23], data[8:10])
	hex.Encode(out[24:], data[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}
