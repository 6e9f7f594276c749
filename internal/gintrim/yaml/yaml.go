// Package yaml takes the place of github.com/goccy/go-yaml: it has what gin refers to and refuses to
// encode or decode. See docs/decisions/0021.
package yaml

import (
	"errors"
	"io"
)

var errAbsent = errors.New("YAML is not compiled into gin")

// Decoder decodes nothing.
type Decoder struct{}

// NewDecoder returns a Decoder.
func NewDecoder(io.Reader) Decoder { return Decoder{} }

// Decode always returns an error.
func (Decoder) Decode(any) error { return errAbsent }

// Marshal always returns an error.
func Marshal(any) ([]byte, error) { return nil, errAbsent }
