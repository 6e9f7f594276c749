package store

import (
	"context"
	"errors"
	"fmt"
)

// Confirmer is an [Engine] whose reads may come from a primary that another one has replaced: they, and those of its
// snapshots, are provisional until they are confirmed. So is a result by which a commit wrote nothing, such as
// [ErrFenced]. It is optional for engines. Package origins confirms all reads of a broker; tools that read an engine
// themselves use [Confirmed] or [Confirmation].
type Confirmer interface {
	// Primary returns the number of the primary that operations use. It has another, higher value as soon as an operation can
	// use another server, or the same one after a restart. An operation that begins after Primary returned a number, and
	// returns before Primary returns the same number again, used that primary. Primary does not block.
	Primary() uint64
	// Confirm writes something to the primary, durably. If it returns nil, no other server had replaced the primary
	// when the call began. A successful commit says the same. The error is that of a commit that was
	// not written, or of the context; a write that was sent may still happen.
	Confirm(ctx context.Context) error
}

// errReplaced is the error of a confirmation after the primary has changed.
var errReplaced = errors.New("the engine has another primary since")

// Confirmation returns a function that confirms the reads of r that began after the call of Confirmation and returned before
// the call of the function: if it returns nil, each of them saw every commit that had returned before the read began. It costs
// a durable write. Otherwise it returns [ErrUnavailable]. If r is not a [Confirmer], the function does nothing.
func Confirmation(r Reader) (confirm func(context.Context) error) {
	c, ok := r.(Confirmer)
	if !ok {
		return confirmed
	}
	primary := c.Primary()
	return func(ctx context.Context) error {
		err := c.Confirm(ctx)
		if err == nil && c.Primary() != primary {
			err = errReplaced
		}
		return unconfirmed(err)
	}
}

// Confirmed returns a reader of r whose reads are confirmed before they return, each at the cost of a durable write: r itself
// if it is not a [Confirmer].
func Confirmed(r Reader) Reader {
	if _, ok := r.(Confirmer); !ok {
		return r
	}
	return confirming{r, func() func(context.Context) error { return Confirmation(r) }}
}

// ConfirmedBy returns a reader of r, such as a snapshot, whose reads are confirmed by confirm before they return.
func ConfirmedBy(r Reader, confirm func(context.Context) error) Reader {
	return confirming{r, func() func(context.Context) error { return confirm }}
}

// confirming confirms each read by a confirmation that begins before it.
type confirming struct {
	from  Reader
	begin func() (confirm func(context.Context) error)
}

// Get implements [Reader].
func (c confirming) Get(ctx context.Context, key string) (Record, error) {
	confirm := c.begin()
	record, err := c.from.Get(ctx, key)
	if err == nil || errors.Is(err, ErrNotFound) {
		if late := confirm(ctx); late != nil {
			return Record{}, late
		}
	}
	return record, err
}

// GetMany implements [Reader].
func (c confirming) GetMany(ctx context.Context, keys []string) ([]Record, error) {
	confirm := c.begin()
	return confirmAll(ctx, confirm)(c.from.GetMany(ctx, keys))
}

// List implements [Reader].
func (c confirming) List(ctx context.Context, prefix, after string, limit int) ([]Record, error) {
	confirm := c.begin()
	return confirmAll(ctx, confirm)(c.from.List(ctx, prefix, after, limit))
}

func confirmAll(ctx context.Context, confirm func(context.Context) error) func([]Record, error) ([]Record, error) {
	return func(records []Record, err error) ([]Record, error) {
		if err == nil {
			err = confirm(ctx)
		}
		if err != nil {
			return nil, err
		}
		return records, nil
	}
}

// Provisioner is a [Reader] whose reads are confirmed, and that also has a cheaper reader, whose reads are confirmed later or
// by a commit. It is optional; [Provisional] uses it if it is there.
type Provisioner interface {
	// Provisional returns a reader whose reads may be stale, also those of its snapshots, until confirm returns nil. If a commit
	// was written by the same process after the last of these reads, and to the same primary, confirm costs nothing; otherwise it
	// costs a durable write, which callers share. Its error is [ErrUnavailable]. The reader is for one goroutine. What depends on
	// its reads must not be answered before they are confirmed, except for the result of a change that compares the revision
	// of all that it depends on.
	Provisional() (r Reader, confirm func(context.Context) error)
}

// Provisional returns the provisional reader of r and the function that confirms its reads: r itself and a function
// that does nothing if r is not a [Provisioner].
func Provisional(r Reader) (provisional Reader, confirm func(context.Context) error) {
	if p, ok := r.(Provisioner); ok {
		return p.Provisional()
	}
	return r, confirmed
}

func confirmed(context.Context) error { return nil }

// unconfirmed returns the error of reads that could not be confirmed, nil if err is nil.
func unconfirmed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: a read could not be confirmed: %w", ErrUnavailable, err)
}
