package revocation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrUnknownKind says that an answer holds an event that this version cannot apply, so it proves
// nothing; wrapped with the kind.
var ErrUnknownKind = errors.New("revocation event of an unknown kind")

// DecodeAnswer reads the JSON form of a catch-up answer and checks its bounds. It reads to
// the end; the caller limits r. An answer of another version is an error: what it says is
// not known in full.
func DecodeAnswer(r io.Reader) (*Answer, error) {
	var a Answer
	dec := json.NewDecoder(r)
	if err := dec.Decode(&a); err != nil {
		return nil, fmt.Errorf("decoding a catch-up answer: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decoding a catch-up answer: %w: data after the answer", ErrMalformed)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("decoding a catch-up answer: %w", err)
	}
	return &a, nil
}

func (a *Answer) check() error {
	if err := a.checkHead(); err != nil {
		return err
	}
	for _, e := range a.Events {
		if err := e.mustBeKnown(); err != nil {
			return err
		}
	}
	return nil
}

// checkHead checks all but the events.
func (a *Answer) checkHead() error {
	if a.V != Version {
		return fmt.Errorf("%w: version %d", ErrMalformed, a.V)
	}
	if !validName(a.Store) || !validName(a.Origin) || a.Up < 0 || a.Up > maxMillis ||
		a.AtMS < 0 || a.AtMS > maxMillis || a.TimeFloor < 0 || a.TimeFloor > maxMillis {
		return fmt.Errorf("%w: out of bounds", ErrMalformed)
	}
	if len(a.Origins) > maxOrigins {
		return fmt.Errorf("%w: %d origins", ErrMalformed, len(a.Origins))
	}
	listed := false
	for _, o := range a.Origins {
		if !validName(o.Origin) || o.Head > MaxSeq {
			return fmt.Errorf("%w: origin out of bounds", ErrMalformed)
		}
		listed = listed || o.Origin == a.Origin
	}
	if !listed {
		return fmt.Errorf("%w: the answering origin is not listed", ErrMalformed)
	}
	return nil
}

// mustBeKnown is check for an answer, which proves nothing unless it is understood in full.
func (e Event) mustBeKnown() error {
	known, err := e.check()
	if err == nil && !known {
		err = fmt.Errorf("%w: %.32q", ErrUnknownKind, string(e.Kind))
	}
	return err
}

// maxOrigins bounds the live origins of one issuer.
const maxOrigins = 256
