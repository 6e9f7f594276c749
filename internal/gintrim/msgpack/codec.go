// Package codec takes the place of github.com/ugorji/go/codec: it has what gin refers to and
// refuses to encode or decode. See docs/decisions/0021.
package codec

import (
	"errors"
	"io"
)

var errAbsent = errors.New("MessagePack is not compiled into this program")

// MsgpackHandle has no options.
type MsgpackHandle struct{}

// Decoder decodes nothing.
type Decoder struct{}

// NewDecoder returns a Decoder.
func NewDecoder(io.Reader, *MsgpackHandle) Decoder { return Decoder{} }

// Decode always returns an error.
func (Decoder) Decode(any) error { return errAbsent }

// Encoder encodes nothing.
type Encoder struct{}

// NewEncoder returns an Encoder.
func NewEncoder(io.Writer, *MsgpackHandle) Encoder { return Encoder{} }

// Encode always returns an error.
func (Encoder) Encode(any) error { return errAbsent }
