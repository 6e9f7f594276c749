package ledger

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// eventPage is how many events are read at a time.
const eventPage = 4000

// page is the result of one List.
type page struct {
	records []store.Record
	err     error
}

// eachEvent passes the strongest events of the record to fn, one page at a time. It reads the next page
// while fn processes one: a start with a million entries, or a full answer of them, therefore takes the
// longer of both times and not their sum. fn must not keep the slice.
func (l *Ledger) eachEvent(ctx context.Context, fn func([]revocation.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	next := readPage(ctx, l.config.Store, eventPrefix, "", eventPage)
	defer func() {
		cancel()
		if next != nil {
			<-next
		}
	}()
	events := make([]revocation.Event, 0, eventPage)
	for next != nil {
		p := <-next
		next = nil
		if p.err != nil {
			return p.err
		}
		if len(p.records) == eventPage {
			next = readPage(ctx, l.config.Store, eventPrefix, p.records[eventPage-1].Key, eventPage)
		}
		events = events[:0]
		for _, r := range p.records {
			rec, err := decodeEvent(r)
			if err != nil {
				return err
			}
			events = append(events, rec.Event)
		}
		if err := fn(events); err != nil {
			return err
		}
	}
	return nil
}

// readPage reads up to limit records below prefix and after a key, in a goroutine that ends with its one answer or
// ctx.
func readPage(ctx context.Context, r store.Reader, prefix, after string, limit int) <-chan page {
	c := make(chan page, 1)
	go func() {
		records, err := r.List(ctx, prefix, after, limit)
		c <- page{records, err}
	}()
	return c
}

const (
	// scanners is how many parts of the record are read at a time, where there are as many
	// processors: starting services, and the starting broker, wait for it.
	scanners = 4
	// partsEach is how many parts there are for each, as they are of unequal size.
	partsEach = 4
)

// partReader is one of the ranges that the events are read in: add is given each of its events in
// the binary form, not to be kept, and end is called when it is through.
type partReader struct {
	add func(event []byte) error
	end func()
}

// addInParts adds the strongest events of the record to a binary answer, in the order of
// their keys. It copies them over from where they lie.
func addInParts(ctx context.Context, engine store.Scanner, b *revocation.AnswerBuilder) error {
	var parts []*revocation.AnswerPart
	if err := inParts(ctx, engine, func() partReader {
		p := new(revocation.AnswerPart)
		parts = append(parts, p)
		return partReader{add: p.AddEncoded, end: func() {}}
	}); err != nil {
		return err
	}
	for _, p := range parts {
		if err := b.AddPart(p); err != nil {
			return err
		}
	}
	return nil
}

// loadInParts has the strongest events of the record in the denylist.
func loadInParts(ctx context.Context, engine store.Scanner, d *revocation.Denylist) error {
	return inParts(ctx, engine, func() partReader {
		l := d.Loader()
		return partReader{add: l.AddEncoded, end: l.Flush}
	})
}

// inParts reads the strongest events of the record in several goroutines, which have ended
// when it returns. It makes the parts in the order of their keys before it begins; each is a
// separate view.
func inParts(ctx context.Context, engine store.Scanner, makePart func() partReader) error {
	workers := min(runtime.GOMAXPROCS(0), scanners)
	cuts, err := cutPoints(ctx, engine, workers*partsEach)
	if err != nil {
		return err
	}
	parts := make([]partReader, len(cuts)-1)
	for i := range parts {
		parts[i] = makePart()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(parts)); i = next.Add(1) - 1 {
				if err := readPart(ctx, engine, cuts[i], cuts[i+1], parts[i]); err != nil {
					cancel(err) // the others need not go on
					return
				}
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func readPart(ctx context.Context, engine store.Scanner, from, to string, p partReader) error {
	defer p.end()
	return engine.Scan(ctx, from, to, func(key, value []byte) error {
		event, err := encodedEvent(value)
		if err == nil {
			err = p.add(event)
		}
		if err != nil {
			return fmt.Errorf("reading ledger record %s: %w", key, err)
		}
		return nil
	})
}

// cutPoints are the keys between which the parts lie. Nearly all events are of two kinds,
// each of which is divided separately.
func cutPoints(ctx context.Context, engine store.Scanner, parts int) ([]string, error) {
	cuts := []string{eventPrefix}
	for _, kind := range []revocation.Kind{revocation.KindJTI, revocation.KindSID} { // in the order of their keys
		prefix := eventPrefix + string(kind) + "."
		inner, err := engine.Split(ctx, prefix, parts)
		if err != nil {
			return nil, fmt.Errorf("dividing the events: %w", err)
		}
		cuts = append(append(cuts, prefix), inner...)
	}
	return append(cuts, eventPrefix+"\xff"), nil
}
