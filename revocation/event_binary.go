package revocation

import "fmt"

// AppendEvent appends the binary form of one event, as a binary answer has it (docs/feed.md)
// whose only event it is. It refuses what a service would refuse.
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

// DecodeEvent reads what [AppendEvent] wrote, and refuses everything else. It keeps nothing
// of data and does not change it.
func DecodeEvent(data []byte) (Event, error) {
	d := binaryReader{buf: data, end: len(data)}
	if len(data) == 0 {
		return Event{}, fmt.Errorf("decoding an event: %w: it is empty", ErrMalformed)
	}
	d.pos = 1
	e, err := d.event(data[0])
	if err != nil {
		return Event{}, fmt.Errorf("decoding an event: %w", err)
	}
	if d.pos != d.end {
		return Event{}, fmt.Errorf("decoding an event: %w: data after it", ErrMalformed)
	}
	return e, nil
}
