// Package toml takes the place of github.com/pelletier/go-toml/v2: it has what gin refers to and refuses to
// encode or decode. See docs/decisions/0021.
package toml

import (
	"errors"
	"io"
)

var errAbsent = errors.New("TOML is not compiled into gin")

// Decoder decodes nothing.
type Decoder struct{}

// NewDecoder returns a Decoder.
func NewDecoder(io.Reader) Decoder { return Decoder{} }

// Decode always returns an error.
func (Decoder) Decode(any) error { return errAbsent }

// Marshal always returns an error.
func Marshal(any) ([]byte, error) { return nil, errAbsent }
