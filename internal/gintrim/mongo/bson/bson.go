// Package bson takes the place of go.mongodb.org/mongo-driver/v2/bson: it has what gin refers to
// and refuses to encode or decode. See docs/decisions/0021.
package bson

import "errors"

var errAbsent = errors.New("BSON is not compiled into this program")

// Marshal always returns an error.
func Marshal(any) ([]byte, error) { return nil, errAbsent }

// Unmarshal always returns an error.
func Unmarshal([]byte, any) error { return errAbsent }
