package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// List returns up to limit of the events that a full catch-up answer would carry, by kind
// and value, and what to ask with for those after them: "" when these were the last. after
// is "" for the first page, else the next of the one before; any other text stands for its
// place in the order. An event that is over stays until it is collected. Pages are read at
// different times: an event that is recorded meanwhile may be on none of them.
func (l *Ledger) List(ctx context.Context, after string, limit int) (events []revocation.Event, next string, err error) {
	limit = min(max(limit, 1), pageSize)
	position := ""
	if after != "" {
		position = eventPrefix + after
	}
	records, err := l.config.Store.List(ctx, eventPrefix, position, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("listing the revocations: %w", err)
	}
	if len(records) > limit {
		records = records[:limit]
		next = strings.TrimPrefix(records[limit-1].Key, eventPrefix)
	}
	events = make([]revocation.Event, len(records))
	for i, r := range records {
		rec, err := decodeEvent(r)
		if err != nil {
			return nil, "", fmt.Errorf("listing the revocations: %w", err)
		}
		events[i] = rec.Event
	}
	return events, next, nil
}

// Find returns the strongest event of the kind and value, and false when there is none. An
// event that is over stays until it is collected. A key that the keyring calls compromised
// is found without an event, too: it is dead for ever, with no end.
func (l *Ledger) Find(ctx context.Context, kind revocation.Kind, value string) (revocation.Recorded, bool, error) {
	r, err := l.config.Store.Get(ctx, eventKey(revocation.Event{Kind: kind, Value: value}))
	switch {
	case errors.Is(err, store.ErrNotFound):
		if kind == revocation.KindKID && slices.Contains(l.config.Kids(), value) {
			return revocation.Recorded{Event: revocation.Event{
				Kind: kind, Value: value, Reason: revocation.ReasonKeyCompromise,
			}}, true, nil
		}
		return revocation.Recorded{}, false, nil
	case err != nil:
		return revocation.Recorded{}, false, fmt.Errorf("looking up a revocation: %w", err)
	}
	rec, err := decodeEvent(r)
	if err != nil {
		return revocation.Recorded{}, false, fmt.Errorf("looking up a revocation: %w", err)
	}
	return revocation.Recorded{Event: rec.Event, By: rec.Event.By, Origin: rec.Origin, Seq: rec.Seq}, true, nil
}
