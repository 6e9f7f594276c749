package revocation

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"unicode/utf8"
)

// This file has the encodings that a broker writes: an event in the binary form and a signed message.

// The first byte of an event in the binary form.
const (
	tagEnd    = 0 // the end of the answer
	tagKind   = 0x07
	tagJTI    = 1 // this code and the next are the places of jti and sid in kindCodes
	tagSID    = 2
	tagPacked = 0x08 // the value is a jti's or sid's 16 bytes
	tagEpoch  = 0x10 // an epoch follows
)

// kindCodes and reasonCodes have each code at its index. Index 0 is not a code.
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

// reasonCode returns zero for a reason that is written as text.
func reasonCode(r Reason) byte {
	for code, one := range reasonCodes[1:] {
		if one == r {
			return byte(code + 1)
		}
	}
	return 0
}

// AppendEvent appends the binary form of one event, as in a binary answer (docs/feed.md)
// with only this event. It returns an error for an event that a service would refuse.
func AppendEvent(dst []byte, e Event) ([]byte, error) {
	if err := e.mustBeKnown(); err != nil {
		return dst, fmt.Errorf("encoding an event: %w", err)
	}
	out, err := new(binaryForm).event(dst, e)
	if err != nil {
		return dst, fmt.Errorf("encoding an event: %w", err)
	}
	return out, nil
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

// mustBeKnown is check for an answer, which proves nothing if an event in it is of an unknown kind.
func (e Event) mustBeKnown() error {
	known, err := e.check()
	if err == nil && !known {
		err = fmt.Errorf("%w: %.32q", ErrUnknownKind, string(e.Kind))
	}
	return err
}

// maxMillis keeps sums of wire times from overflowing: 2^43 ms are 278 years.
const maxMillis = 1 << 43

// check reports whether the event's kind is known, and returns an error for an event out of bounds.
func (e Event) check() (known bool, err error) {
	switch e.Kind {
	case KindJTI, KindSID, KindSub, KindClient, KindKID:
		if e.Value == "" {
			return true, fmt.Errorf("%w: event without a value", ErrMalformed)
		}
	case KindAll:
		if e.Value != "" {
			return true, fmt.Errorf("%w: all with a value", ErrMalformed)
		}
	default:
		return false, nil
	}
	return true, e.checkNumbers()
}

func (e Event) checkNumbers() error {
	if e.ExpiresAt < 0 || e.ExpiresAt > maxMillis || e.At < 0 || e.At > maxMillis || e.Epoch < 0 {
		return fmt.Errorf("%w: event out of bounds", ErrMalformed)
	}
	return nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// checkText returns an error for a text that is too long or that JSON cannot represent.
func checkText(s string) error {
	if len(s) > maxText || !utf8.ValidString(s) {
		return fmt.Errorf("%w: a text of %d bytes is too long or not UTF-8", ErrMalformed, len(s))
	}
	return nil
}

// pack returns the 16 bytes of a jti (UUID) or sid (base32) in canonical form.
func pack(kind Kind, value string) ([16]byte, bool) {
	if kind != KindJTI && kind != KindSID {
		return [16]byte{}, false
	}
	return idOf(kind, value)
}

// unpack is the inverse of pack.
func unpack(kind Kind, data []byte) string {
	if kind == KindSID {
		return EncodeID(data)
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

// id is the 16 bytes of a jti or sid. It contains no pointer for the garbage collector to follow.
type id [16]byte

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// EncodeID returns data in the text form of the broker's own ids, such as a sid: lower-case
// base32 (RFC 4648 §6) without padding.
func EncodeID(data []byte) string { return idEncoding.EncodeToString(data) }

// idOf returns the 16 bytes behind a canonical sid (base32, lower case, no padding) or jti
// (UUID, lower case); any other text is compared as it is.
func idOf(kind Kind, value string) (id, bool) {
	if kind == KindSID {
		return sidOf(value)
	}
	return jtiOf(value)
}

// Eight characters are checked together, one in each byte of a word, because every look-up in a denylist
// starts with an id.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// sidOf reads 26 characters of 5 bits; the last two bits are zero.
func sidOf(value string) (k id, ok bool) {
	if len(value) != 26 {
		return k, false
	}
	words := [4]uint64{eight(value[:8]), eight(value[8:16]), eight(value[16:24]), 'a'*ones&^0xffff | uint64(value[24])<<8 | uint64(value[25])}
	good := uint64(highs)
	for i, v := range words {
		letters := atLeast(v&^highs, 'a') &^ atLeast(v&^highs, 'z'+1)
		good &= (letters | atLeast(v&^highs, '2')&^atLeast(v&^highs, '7'+1)) &^ v
		v -= ('2' - 26) * ones
		v -= ('a' - ('2' - 26)) * (letters & highs >> 7)
		v = v&0x001f001f001f001f | v>>3&0x03e003e003e003e0
		v = v&0x000003ff000003ff | v>>6&0x000ffc00000ffc00
		words[i] = v&0xfffff | v>>12&0xfffff00000
	}
	if good != highs || words[3]&3 != 0 {
		return k, false
	}
	binary.BigEndian.PutUint64(k[:], words[0]<<24|words[1]>>16)
	binary.BigEndian.PutUint64(k[8:], words[1]<<48|words[2]<<8|words[3]>>2)
	return k, true
}

// jtiOf reads 32 digits in groups of 8, 4, 4, 4 and 12.
func jtiOf(value string) (k id, ok bool) {
	if len(value) != 36 || value[8] != '-' || value[13] != '-' || value[18] != '-' || value[23] != '-' {
		return k, false
	}
	words := [4]uint64{
		eight(value[:8]), four(value[9:])<<32 | four(value[14:]), four(value[19:])<<32 | four(value[24:]), eight(value[28:]),
	}
	good := uint64(highs)
	for i, v := range words {
		letters := atLeast(v&^highs, 'a') &^ atLeast(v&^highs, 'f'+1)
		good &= (letters | atLeast(v&^highs, '0')&^atLeast(v&^highs, '9'+1)) &^ v
		v = v&(0x0f*ones) + 9*(letters&highs>>7)
		v = (v | v>>4) & 0x00ff00ff00ff00ff
		v = (v | v>>8) & 0x0000ffff0000ffff
		words[i] = (v | v>>16) & 0xffffffff
	}
	if good != highs {
		return k, false
	}
	binary.BigEndian.PutUint64(k[:], words[0]<<32|words[1])
	binary.BigEndian.PutUint64(k[8:], words[2]<<32|words[3])
	return k, true
}

// eight returns the first 8 characters, the first of them in the highest byte.
func eight(s string) uint64 { return four(s)<<32 | four(s[4:]) }

func four(s string) uint64 {
	_ = s[3]
	return uint64(s[0])<<24 | uint64(s[1])<<16 | uint64(s[2])<<8 | uint64(s[3])
}

// atLeast returns a word in which the high bit of each byte is set if the byte of v is at least from. All
// bytes of v must be below 0x80. The other bits have no meaning.
func atLeast(v uint64, from byte) uint64 { return v + (0x80-uint64(from))*ones }

// SignMessage returns the compact JWS (RFC 7515 §7.1, EdDSA per RFC 8037) of a [Batch],
// [Heartbeat] or [KeyEvent]. signer has an Ed25519 key; typ is the type of the payload. It
// returns an error for a payload of more than [MaxBatchBytes], or a heartbeat of more than
// [MaxHeartbeatBytes].
func SignMessage(signer crypto.Signer, kid, typ string, payload any) ([]byte, error) {
	if _, ok := signer.Public().(ed25519.PublicKey); !ok {
		return nil, fmt.Errorf("signing a revocation message: key %q is not Ed25519", kid)
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("signing a revocation message: %w", err)
	}
	limit := MaxBatchBytes
	if typ == HeartbeatType {
		limit = MaxHeartbeatBytes
	}
	if len(body) > limit {
		return nil, fmt.Errorf("signing a revocation message: %d bytes are more than %d", len(body), limit)
	}
	head, err := json.Marshal(header{Alg: "EdDSA", KID: kid, Typ: typ})
	if err != nil {
		return nil, fmt.Errorf("signing a revocation message: %w", err)
	}
	out := make([]byte, 0, strict.EncodedLen(len(head))+strict.EncodedLen(len(body))+88)
	out = strict.AppendEncode(out, head)
	out = append(out, '.')
	out = strict.AppendEncode(out, body)
	sig, err := signer.Sign(nil, out, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("signing a revocation message: %w", err)
	}
	out = append(out, '.')
	return strict.AppendEncode(out, sig), nil
}
