package ledger

import (
	"context"
	"slices"
	"strings"

	"tokenbroker/revocation"
)

// locate returns the index after which a delta for a position starts. If delta is false, only a full answer is
// possible. A position that is ahead of the memory is looked up again after a view: its service may have heard
// of a batch before this broker.
func (s *sharedRecord) locate(ctx context.Context, positions map[string]uint64, all bool) (index uint64, delta bool, err error) {
	if len(positions) == 0 {
		return 0, false, nil
	}
	s.mu.Lock()
	known := s.log.names(positions)
	s.mu.Unlock()
	if !known {
		if _, err := s.barrier(ctx); err != nil {
			return 0, false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, own := positions[s.own]; !all && (!own || len(positions) > 1) {
		return 0, false, nil
	}
	index, delta = s.log.locate(positions)
	return index, delta, nil
}

// prove returns once the memory has everything that any broker acknowledged before the call, unless this
// broker must not answer. A service that does not understand several origins gets an answer only while one
// is live.
func (s *sharedRecord) prove(ctx context.Context, all bool) error {
	v, err := s.barrier(ctx)
	if err != nil {
		return err
	}
	if !all && len(v.Live()) > 1 {
		return ErrOutdated
	}
	return s.speak()
}

// extend adds what arrived after a draft.
func (s *sharedRecord) extend(d *draft) error {
	s.mu.Lock()
	runs, last := s.log.since(d.head), s.log.last
	d.heads, d.own = s.log.headsAt(last), s.own
	s.mu.Unlock()
	d.head = last
	add := func(event []byte, _ string) error {
		e, err := revocation.DecodeEvent(event)
		if err == nil {
			err = d.builder.Add(e)
		}
		return err
	}
	if d.as != revocation.FormBinary {
		return eachEntry(runs, add)
	}
	part := new(revocation.AnswerPart)
	if err := eachEntry(runs, func(event []byte, _ string) error { return part.AddEncoded(event) }); err != nil {
		return err
	}
	return d.builder.AddPart(part)
}

func eachEntry(runs []run, fn func(event []byte, by string) error) error {
	for _, r := range runs {
		for i := range r.entries {
			if err := r.entries[i].each(fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// originHeads returns the origins of an answer: all, or only the own one.
func (d *draft) originHeads(all bool) []revocation.OriginHead {
	if !all {
		return []revocation.OriginHead{{Origin: d.own, Head: d.heads[d.own]}}
	}
	list := make([]revocation.OriginHead, 0, len(d.heads))
	for origin, head := range d.heads {
		list = append(list, revocation.OriginHead{Origin: origin, Head: head})
	}
	slices.SortFunc(list, func(a, b revocation.OriginHead) int { return strings.Compare(a.Origin, b.Origin) })
	return list
}
