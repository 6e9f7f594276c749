package ledger

import (
	"context"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// eventPage is how many events are read at a time.
const eventPage = 4000

// page is one List and what came of it.
type page struct {
	records []store.Record
	err     error
}

// eachEvent gives the strongest events of the record, a page at a time, to fn. While fn has
// one page, the next is read: a start with a million entries, and a full answer of them,
// wait for the slower of both and not for their sum. fn does not keep the slice.
func (l *Ledger) eachEvent(ctx context.Context, fn func([]revocation.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	next := l.readEvents(ctx, "")
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
			next = l.readEvents(ctx, p.records[eventPage-1].Key)
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

// readEvents reads the page of records after a key, in a goroutine that ends with its one
// answer or ctx.
func (l *Ledger) readEvents(ctx context.Context, after string) <-chan page {
	c := make(chan page, 1)
	go func() {
		records, err := l.config.Store.List(ctx, eventPrefix, after, eventPage)
		c <- page{records, err}
	}()
	return c
}
