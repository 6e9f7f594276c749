package actor

import (
	"errors"
	"fmt"
)

var (
	// ErrBusy is the answer of a full mailbox. The message was not accepted; asking again
	// later is safe.
	ErrBusy = errors.New("actor is busy")
	// ErrStopped is the answer of an actor that takes no more messages.
	ErrStopped = errors.New("actor is stopped")
)

// PanicError is what the callers of a batch get when its handler panicked or returned the
// wrong number of results. How much of the batch was carried out is not known.
// It is shared by those callers and must not be changed.
type PanicError struct {
	// Actor is the actor's name.
	Actor string
	// Value is what the handler panicked with.
	Value any
	// Stack is the goroutine's stack at the panic, for the log; empty when the handler
	// returned the wrong number of results.
	Stack []byte
}

// Error gives the actor's name and the panic's value, without the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("actor %s: panic: %v", e.Actor, e.Value)
}

// Unwrap returns the value of the panic when that was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
