package ledger

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

const (
	// encoders is how many parts of a full answer are made at a time, where there are as many
	// processors: the services that start anew wait for it.
	encoders = 4
	// partsEach is how many parts there are for each, as they are of unequal size.
	partsEach = 4
)

// addInParts adds the strongest events of the record to a binary answer, in the order of
// their keys. It reads them where they lie and copies them over, in several goroutines,
// which have ended when it returns. Each part is a view of its own.
func addInParts(ctx context.Context, engine store.Scanner, b *revocation.AnswerBuilder) error {
	workers := min(runtime.GOMAXPROCS(0), encoders)
	cuts, err := cutPoints(ctx, engine, workers*partsEach)
	if err != nil {
		return err
	}
	parts := make([]revocation.AnswerPart, len(cuts)-1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(parts) {
					return
				}
				if err := encodePart(ctx, engine, cuts[i], cuts[i+1], &parts[i]); err != nil {
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
	for i := range parts {
		if err := b.AddPart(&parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// cutPoints are the keys between which the parts lie. Nearly all events are of two kinds,
// each of which is divided by itself.
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

func encodePart(ctx context.Context, engine store.Scanner, from, to string, part *revocation.AnswerPart) error {
	return engine.Scan(ctx, from, to, func(key, value []byte) error {
		event, err := encodedEvent(value)
		if err == nil {
			err = part.AddEncoded(event)
		}
		if err != nil {
			return fmt.Errorf("reading ledger record %s: %w", key, err)
		}
		return nil
	})
}
