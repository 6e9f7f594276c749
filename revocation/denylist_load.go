package revocation

// Loader fills a denylist with very many events that [AppendEvent] wrote. Several may do so
// at once, each for one goroutine.
type Loader struct{ in idInlet }

// Loader gives one. What was added last is in force once it was flushed.
func (d *Denylist) Loader() *Loader { return &Loader{in: idInlet{into: d}} }

// AddEncoded adds an event; it refuses what [DecodeEvent] does.
func (l *Loader) AddEncoded(data []byte) error {
	t, ok := packedTimes(data)
	if !ok {
		e, err := DecodeEvent(data)
		if err != nil {
			return err
		}
		l.in.into.Apply(e)
		return nil
	}
	kind := ofJTI
	if data[0]&tagKind == tagSID {
		kind = ofSID
	}
	l.in.put(idEvent{at: t.at, end: t.end, id: id(data[packedID:packedLen]), kind: kind})
	return nil
}

// Flush has everything in force.
func (l *Loader) Flush() { l.in.apply() }
