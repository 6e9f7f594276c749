package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// ErrBadPosition is wrapped by the error of [Ledger.Answer] for a position that is not of
// the form <origin>.<seq>[,<origin>.<seq>…]: the caller's fault.
var ErrBadPosition = errors.New("malformed position")

const maxOriginLength = 64

// EncodedAnswer returns the catch-up answer for a position: everything recorded after it, or everything
// live if it is empty or names an origin or batch that is unknown or was collected. Up, then the clock,
// then the view are read after the call, and the view has every batch up to the heads that it states. A
// full answer may already have an event whose commit is not yet acknowledged; applying it again changes
// nothing.
//
// On a shared engine the answer has the batches of all origins. A delta leaves out what was collected. Errors wrap
// [ErrNoView] and [ErrSilent] if this broker can prove nothing now.
//
// Waiting calls with the same position and form share the next encoding. While more than 256 MiB of
// answers are in use, the encoding waits until some are closed. The caller must close the answer.
//
// When the deadline of ctx ends the call, the encoding continues in a goroutine, and the answer is
// kept for 30 s. A call in that time gets it with what was recorded since, so a caller that asks
// again gets an answer even if it takes long to make. [Ledger.Close] ends such goroutines.
func (l *Ledger) EncodedAnswer(ctx context.Context, after string, as revocation.Form) (*EncodedAnswer, error) {
	return l.EncodedAnswerFor(ctx, "", after, revocation.Speaks, as)
}

// EncodedAnswerFor is [Ledger.EncodedAnswer] for a client, which has a share of that memory: while answers
// of 64 MiB for this client, or of 192 MiB for all, are in use, another answer that would have to be
// encoded for it fails with [ErrTooManyAnswers]. A client that uses none waits.
//
// speaks is the version of the protocol that the service speaks. On a shared engine an answer for a service that speaks
// less than [revocation.Speaks] lists only this broker's origin, and is [ErrOutdated] while several brokers are live.
func (l *Ledger) EncodedAnswerFor(ctx context.Context, client, after string, speaks int, as revocation.Form) (*EncodedAnswer, error) {
	positions, err := parsePosition(after)
	if err != nil {
		return nil, err
	}
	a, err := l.answer(ctx, client, positions, speaks >= revocation.Speaks || l.shared == nil, as)
	if err != nil {
		return nil, fmt.Errorf("answering a catch-up: %w", err)
	}
	return a, nil
}

// Answer is [Ledger.EncodedAnswer] for a reader in this process.
func (l *Ledger) Answer(ctx context.Context, after string) (revocation.Answer, error) {
	encoded, err := l.EncodedAnswer(ctx, after, revocation.FormBinary)
	if err != nil {
		return revocation.Answer{}, err
	}
	defer func() { _ = encoded.Close() }()
	a, err := revocation.DecodeBinaryAnswer(encoded.Reader())
	if err != nil {
		return revocation.Answer{}, err
	}
	return *a, nil
}

func (l *Ledger) answer(ctx context.Context, client string, positions map[string]uint64, all bool, as revocation.Form) (*EncodedAnswer, error) {
	index, delta, err := l.locate(ctx, positions, all)
	if err != nil {
		return nil, err
	}
	if delta {
		key := answerKey{form: as, all: all, delta: true, index: index}
		a, err := l.answers.get(ctx, client, key, l.encoder(key, func(ctx context.Context) (*draft, error) {
			d := newDraft(as, index)
			return d, l.extend(ctx, d)
		}))
		if !errors.Is(err, errUnknownPosition) {
			return a, err
		}
	}
	key := answerKey{form: as, all: all}
	return l.answers.get(ctx, client, key, l.encoder(key, func(ctx context.Context) (*draft, error) {
		return l.draftFull(ctx, as)
	}))
}

// locate returns the index after which a delta for a position starts. If delta is false, only a full answer is
// possible.
func (l *Ledger) locate(ctx context.Context, positions map[string]uint64, all bool) (index uint64, delta bool, err error) {
	if l.shared != nil {
		return l.shared.locate(ctx, positions, all)
	}
	seq, ok := positions[l.origin]
	return seq, ok && len(positions) == 1, nil
}

// encoder returns an encoder that continues a draft. It starts with the draft of start if there is none or
// the batches after its head were collected.
func (l *Ledger) encoder(key answerKey, start func(context.Context) (*draft, error)) encoder {
	return func(ctx context.Context, d *draft) (*draft, *revocation.EncodedAnswer, error) {
		a, err := l.answerHead(), errUnknownPosition
		a.Full = !key.delta
		if l.shared != nil {
			if err := l.shared.prove(ctx, key.all); err != nil {
				return nil, nil, err
			}
		}
		if d != nil {
			err = l.extend(ctx, d)
		}
		if errors.Is(err, errUnknownPosition) {
			d, err = start(ctx)
		}
		if err != nil {
			return nil, nil, err
		}
		answer, err := l.finishAnswer(d, a, key.all)
		return d, answer, err
	}
}

// errUnknownPosition means that only a full answer is possible.
var errUnknownPosition = errors.New("position not known (any more)")

// answerHead reads the members of an answer that must be read before its view.
func (l *Ledger) answerHead() revocation.Answer {
	a := revocation.Answer{V: revocation.Version, Store: l.storeID, Up: l.Up()}
	a.AtMS = l.Now().UnixMilli()
	return a
}

// finishAnswer completes an answer with the view of a draft. The floor is read after the view:
// all events that were collected before or during it ended by this floor.
func (l *Ledger) finishAnswer(d *draft, a revocation.Answer, all bool) (*revocation.EncodedAnswer, error) {
	a.Origin, a.Origins = l.origin, []revocation.OriginHead{{Origin: l.origin, Head: d.head}}
	if l.shared != nil {
		a.Origin, a.Origins = d.own, d.originHeads(all)
	}
	a.Kids = l.config.Kids()
	a.TimeFloor = l.TimeFloor()
	a.AtMS = max(a.AtMS, a.TimeFloor*1000)
	return d.builder.Finish(a)
}

// draftFull reads everything live, in a view that holds every batch up to the draft's head.
func (l *Ledger) draftFull(ctx context.Context, as revocation.Form) (*draft, error) {
	if l.shared != nil {
		d := newDraft(as, 0)
		return d, l.shared.extend(d)
	}
	d := newDraft(as, l.Head())
	var err error
	if engine, ok := l.config.Store.(store.Scanner); ok && as == revocation.FormBinary {
		err = addInParts(ctx, engine, d.builder)
	} else {
		err = l.eachEvent(ctx, func(events []revocation.Event) error { return d.builder.Add(events...) })
	}
	d.made = time.Now()
	return d, err
}

// extend adds what was recorded after the draft's head. After an error the draft must not be used.
func (l *Ledger) extend(ctx context.Context, d *draft) error {
	if l.shared != nil {
		return l.shared.extend(d)
	}
	l.mu.Lock()
	first, head := l.first, l.head
	l.mu.Unlock()
	if d.head > head || d.head+1 < first {
		return errUnknownPosition
	}
	for d.head < head {
		batches, err := l.readBatches(ctx, d.head, min(head-d.head, l.batchesPerPage(d.head)))
		if err != nil {
			return err
		}
		if len(batches) == 0 { // collected in the meantime
			return errUnknownPosition
		}
		for _, batch := range batches {
			if err := d.builder.Add(batch.Events...); err != nil {
				return err
			}
		}
		d.head += uint64(len(batches))
	}
	return nil
}

// parsePosition reads <origin>.<seq>[,…]; an empty text means no position.
func parsePosition(after string) (map[string]uint64, error) {
	if after == "" {
		return nil, nil
	}
	parts := strings.SplitN(after, ",", revocation.MaxOrigins+1)
	if len(parts) > revocation.MaxOrigins {
		return nil, fmt.Errorf("%w: more than %d origins", ErrBadPosition, revocation.MaxOrigins)
	}
	positions := make(map[string]uint64, len(parts))
	for _, part := range parts {
		origin, digits, ok := strings.Cut(part, ".")
		if !ok || origin == "" || len(origin) > maxOriginLength || strings.ContainsFunc(origin, notPlain) {
			return nil, fmt.Errorf("%w: %.80q", ErrBadPosition, part)
		}
		seq, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || seq > revocation.MaxSeq || strconv.FormatUint(seq, 10) != digits {
			return nil, fmt.Errorf("%w: sequence number of %.80q", ErrBadPosition, part)
		}
		if _, twice := positions[origin]; twice {
			return nil, fmt.Errorf("%w: origin %s twice", ErrBadPosition, origin)
		}
		positions[origin] = seq
	}
	return positions, nil
}

var _ store.Seal = (*Ledger)(nil).Seal
