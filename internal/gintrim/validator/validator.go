// Package validator takes the place of github.com/go-playground/validator/v10: it has what gin
// refers to. It cannot check a struct, and therefore refuses every one. See docs/decisions/0021.
package validator

import "errors"

// Validate checks nothing.
type Validate struct{}

// New returns a Validate.
func New() *Validate { return &Validate{} }

// SetTagName does nothing.
func (*Validate) SetTagName(string) {}

// Struct always returns an error, so that no struct passes unchecked.
func (*Validate) Struct(any) error {
	return errors.New("gin's struct validation is not compiled into this program")
}
