package ledger

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// maxCarried is how many runs of a single broker become origins of a shared store.
const maxCarried = 256

// embedded is the name of these origins. It has a space, unlike those of brokers.
const embedded = "embedded broker"

// ToShared reads the revocations of the store of a single broker and passes to write the records that brokers that share a
// store have instead. storeID is the id of both stores, kek the fingerprint of their key encryption key.
//
// Each run of the broker becomes an ended origin with its batches, so that services that follow it go on. Its head is the
// highest possible one: its last batches may have been collected, so their numbers are not known, and a head below one that a
// service has heard would mean that the store was rewound. What is recorded only as an event, because its batch
// was collected, is in the batches of one more origin.
func ToShared(ctx context.Context, from Records, storeID, kek string, now time.Time, write func(store.Write) error) error {
	s := &sharing{storeID: storeID, kek: kek, now: now, write: write, heads: map[string]uint64{}, events: map[string]*singleEvent{}}
	if err := s.readEvents(ctx, from); err != nil {
		return err
	}
	if err := s.chooseOrigins(ctx, from); err != nil {
		return err
	}
	if err := s.writeBatches(ctx, from); err != nil {
		return err
	}
	if err := s.writeRest(ctx, from); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(s.heads)) {
		if err := s.writeOrigin(id); err != nil {
			return err
		}
	}
	return nil
}

// sharing is one call of [ToShared].
type sharing struct {
	storeID, kek string
	now          time.Time
	write        func(store.Write) error
	heads        map[string]uint64       // of the origins to write
	kept         map[string]store.Write  // their records, of those that an earlier shared store had
	events       map[string]*singleEvent // by key
	batch        storedBatch             // of the rest
	size         int                     // of its events, bytes at most
}

// singleEvent is what is needed of an eventRecord.
type singleEvent struct {
	origin    string
	seq       uint64
	by        string
	strength  revocation.Event // only epoch and end
	inBatches bool
}

func (s *sharing) readEvents(ctx context.Context, from Records) error {
	return from.Each(ctx, eventPrefix, func(w store.Write) error {
		rec, err := decodeEvent(store.Record{Key: w.Key, Value: w.Value})
		if err != nil {
			return err
		}
		s.events[w.Key] = &singleEvent{
			origin: rec.Origin, seq: rec.Seq, by: rec.Event.By,
			strength: revocation.Event{Epoch: rec.Event.Epoch, ExpiresAt: rec.Event.ExpiresAt},
		}
		return nil
	})
}

// chooseOrigins decides which runs become origins: the last ones, and those that were origins before.
func (s *sharing) chooseOrigins(ctx context.Context, from Records) error {
	var runs []revocation.Batch // the last of each run
	var last store.Write
	add := func() error {
		if last.Key == "" {
			return nil
		}
		b, err := decodeStored(last)
		runs = append(runs, b.Batch)
		return err
	}
	err := from.Each(ctx, batchPrefix, func(w store.Write) error {
		if origin, _, ok := cutBatchKey(last.Key); ok && !strings.HasPrefix(w.Key, batchPrefix+origin+".") {
			if err := add(); err != nil {
				return err
			}
		}
		last = w
		return nil
	})
	if err == nil {
		err = add()
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(runs, func(a, b revocation.Batch) int { return cmp.Compare(b.At, a.At) })
	for _, b := range runs[:min(len(runs), maxCarried)] {
		s.heads[b.Origin] = revocation.MaxSeq
	}
	s.kept, err = endedOrigins(ctx, from)
	for id := range s.kept {
		s.heads[id] = 0 // its record has the head
	}
	return err
}

// writeBatches writes the batches of the chosen origins, with the operators that only the events have.
func (s *sharing) writeBatches(ctx context.Context, from Records) error {
	return from.Each(ctx, batchPrefix, func(w store.Write) error {
		b, err := decodeStored(w)
		if err != nil {
			return err
		}
		if _, chosen := s.heads[b.Origin]; !chosen {
			return nil
		}
		for i, e := range b.Events {
			rec := s.events[eventKey(e)]
			if rec == nil {
				continue
			}
			rec.inBatches = rec.inBatches || covers(e, rec.strength)
			if rec.by != "" && rec.origin == b.Origin && rec.seq == b.Seq {
				if b.By == nil {
					b.By = make([]string, len(b.Events))
				}
				b.By[i] = rec.by
			}
		}
		w.Value = encode(b)
		return s.write(w)
	})
}

// writeRest writes the events that are not in the batches.
func (s *sharing) writeRest(ctx context.Context, from Records) error {
	s.batch = storedBatch{Batch: revocation.Batch{V: revocation.Version, Store: s.storeID, Origin: newID(), At: s.now.Unix()}}
	err := from.Each(ctx, eventPrefix, func(w store.Write) error {
		if s.events[w.Key].inBatches {
			return nil
		}
		rec, err := decodeEvent(store.Record{Key: w.Key, Value: w.Value})
		if err != nil {
			return err
		}
		size := len(encode(rec.Event)) + len(",")
		if len(s.batch.Events) == revocation.MaxBatchEvents || s.size+size > revocation.MaxBatchBytes/2 {
			if err := s.flush(); err != nil {
				return err
			}
		}
		s.batch.By = append(s.batch.By, rec.Event.By)
		rec.Event.By = ""
		s.batch.Events, s.size = append(s.batch.Events, rec.Event), s.size+size
		return nil
	})
	if err == nil && len(s.batch.Events) > 0 {
		err = s.flush()
	}
	return err
}

func (s *sharing) flush() error {
	s.batch.Seq++
	s.heads[s.batch.Origin] = s.batch.Seq
	if !slices.ContainsFunc(s.batch.By, func(by string) bool { return by != "" }) {
		s.batch.By = nil
	}
	err := s.write(store.Write{Key: batchKey(s.batch.Origin, s.batch.Seq), Value: encode(s.batch), Blind: true})
	s.batch.Events, s.batch.By, s.size = nil, nil, 0
	return err
}

func (s *sharing) writeOrigin(id string) error {
	if w, ok := s.kept[id]; ok {
		return s.write(w)
	}
	ms := s.now.UnixMilli()
	r := origins.Record{
		V: origins.Version, N: 1, Head: s.heads[id], Ended: true, ClockMS: ms, SinceMS: ms, Name: embedded, KEK: s.kek,
		Speaks: [2]int{origins.Version, origins.Version},
	}
	return s.write(store.Write{Key: origins.Key(id), Value: r.Encode(), Blind: true})
}
