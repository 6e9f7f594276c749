package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// ackMember is the JSON member that a sent batch may have in addition to the stored one.
const ackMember = `,"ack":true`

// Seal returns the writes of the batch that records accepted: the batch itself and, unless the engine is shared, for each
// kind and value the strongest event if it is stronger than the stored one. It runs inside the commit and does not
// change what the ledger answers. After a commit that fails, the next Seal replaces the batch. If the
// batch exceeds its limits, the error wraps [store.ErrTooBig].
func (l *Ledger) Seal(accepted []revocation.Event) ([]store.Write, error) {
	origin, seq, err := l.nextBatch()
	if err != nil {
		return nil, err
	}
	events, err := strongest(accepted)
	if err != nil {
		return nil, err
	}
	if len(events) > revocation.MaxBatchEvents {
		return nil, fmt.Errorf("%w: %d events, a batch holds %d", store.ErrTooBig, len(events), revocation.MaxBatchEvents)
	}
	if seq > revocation.MaxSeq {
		return nil, errors.New("sequence numbers are used up: restart the broker")
	}
	batch := revocation.Batch{
		V: revocation.Version, Store: l.storeID, Origin: origin, Seq: seq,
		At: l.Now().Unix(), Events: events,
	}
	value := encode(batch)
	if len(value)+len(ackMember) > revocation.MaxBatchBytes {
		return nil, fmt.Errorf("%w: %d bytes, a batch holds %d", store.ErrTooBig, len(value), revocation.MaxBatchBytes)
	}
	if l.shared != nil {
		return l.shared.seal(batch)
	}
	writes := []store.Write{{Key: batchKey(l.origin, seq), Value: value}}
	info := batchInfo{size: len(value)}
	for _, e := range events {
		key := eventKey(e)
		recorded, needed, err := l.merge(key, e)
		if err != nil {
			return nil, err
		}
		info.end = max(info.end, recorded.ExpiresAt)
		info.length = max(info.length, length(recorded))
		if needed {
			value, err := eventRecord{Origin: l.origin, Seq: seq, Event: recorded}.encode()
			if err != nil {
				return nil, err
			}
			writes = append(writes, store.Write{Key: key, Blind: true, Value: value})
		}
	}
	l.mu.Lock()
	l.pending = &pending{batch: batch, info: info}
	l.mu.Unlock()
	return writes, nil
}

// nextBatch returns the origin and the sequence number of the batch that Seal makes.
func (l *Ledger) nextBatch() (origin string, seq uint64, err error) {
	if l.shared != nil {
		return l.shared.next()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = nil
	return l.origin, l.head + 1, nil
}

// merge returns the event to record under key, and whether it differs from the stored one.
func (l *Ledger) merge(key string, e revocation.Event) (revocation.Event, bool, error) {
	r, err := l.config.Store.Get(context.Background(), key)
	if errors.Is(err, store.ErrNotFound) {
		return e, true, nil
	}
	if err != nil {
		return e, false, err
	}
	old, err := decodeEvent(r)
	if err != nil {
		return e, false, err
	}
	if covers(old.Event, e) {
		return e, false, nil
	}
	return stronger(old.Event, e), true, nil
}

// Committed is called once the sealed writes are on disk: it adds the events to the denylist and then
// advances the head. It returns the new head.
func (l *Ledger) Committed() (seq uint64) {
	if l.shared != nil {
		return l.shared.committed()
	}
	l.mu.Lock()
	p := l.pending
	l.pending = nil
	l.mu.Unlock()
	if p == nil { // nothing was sealed
		return l.Head()
	}
	l.config.Denylist.Apply(p.batch.Events...)
	p.info.written = l.config.Mono()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.head++
	l.batches = append(l.batches, p.info)
	l.recent.add(p.batch, p.info.size)
	close(l.moved)
	l.moved = make(chan struct{})
	return l.head
}

// strongest checks the events and merges those of the same kind and value, in the order of their first
// appearance. A malformed event would make every service refuse the batch.
func strongest(accepted []revocation.Event) ([]revocation.Event, error) {
	type name struct {
		kind  revocation.Kind
		value string
	}
	index := make(map[name]int, len(accepted))
	events := make([]revocation.Event, 0, len(accepted))
	for _, e := range accepted {
		if err := check(e); err != nil {
			return nil, err
		}
		n := name{e.Kind, e.Value}
		i, ok := index[n]
		switch {
		case !ok:
			index[n] = len(events)
			events = append(events, e)
		case !covers(events[i], e):
			events[i] = stronger(events[i], e)
		}
	}
	return events, nil
}

func check(e revocation.Event) error {
	switch e.Kind {
	case revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID:
		if e.Value == "" {
			return fmt.Errorf("a %s event without a value", e.Kind)
		}
	case revocation.KindAll:
		if e.Value != "" {
			return errors.New("an event for all with a value")
		}
	default:
		return fmt.Errorf("an event of unknown kind %.20q", string(e.Kind))
	}
	if e.At < 0 || e.ExpiresAt < e.At || e.Epoch < 0 {
		return fmt.Errorf("a %s event whose times or epoch are out of order", e.Kind)
	}
	return nil
}

// covers reports whether old revokes at least as much as e, for at least as long.
func covers(old, e revocation.Event) bool {
	return old.ExpiresAt >= e.ExpiresAt && old.Epoch >= e.Epoch
}

// stronger merges two events of the same kind and value: the higher epoch, the later end, and the earlier
// start, so that it is kept for the longer of the two lengths.
func stronger(old, e revocation.Event) revocation.Event {
	e.Epoch = max(old.Epoch, e.Epoch)
	e.ExpiresAt = max(old.ExpiresAt, e.ExpiresAt)
	e.At = min(old.At, e.At)
	return e
}

// length returns how long an event is kept at least, on the monotonic clock.
func length(e revocation.Event) time.Duration {
	const limit = int64(100 * 365 * 24 * time.Hour / time.Second)
	return time.Duration(min(e.ExpiresAt-e.At, limit)) * time.Second
}

// Head returns the sequence number of the last batch that this broker committed, zero if there is none.
func (l *Ledger) Head() uint64 {
	if l.shared != nil {
		return l.shared.head(l.shared.origin())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// last returns the index of the newest batch and a channel that is closed when there is a newer one. The index of a
// batch is its place in the order in which batches arrived; that of the only broker is its sequence number.
func (l *Ledger) last() (uint64, <-chan struct{}) {
	if l.shared != nil {
		return l.shared.last()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, l.moved
}

// firstKept returns the first index that is not followed by a gap of collected batches that a position may lack.
func (l *Ledger) firstKept() uint64 {
	if l.shared != nil {
		return 1 // what was collected is left out
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// batchKey returns the key of a batch. Keys sort the batches of an origin by seq (16 digits hold
// [revocation.MaxSeq]).
func batchKey(origin string, seq uint64) string {
	return fmt.Sprintf("%s%s.%016d", batchPrefix, origin, seq)
}

// eventKey returns the key of a kind and value. A value that is not a short plain name is hashed; the
// tilde distinguishes the hash from every plain name.
func eventKey(e revocation.Event) string {
	value := e.Value
	if len(value) > 64 || strings.ContainsFunc(value, notPlain) {
		sum := sha256.Sum256([]byte(value))
		value = "~" + revocation.EncodeID(sum[:])
	}
	return eventPrefix + string(e.Kind) + "." + value
}

func notPlain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func encode(record any) []byte {
	data, err := json.Marshal(record)
	if err != nil { // plain structs of strings and numbers
		panic("encoding a ledger record: " + err.Error())
	}
	return data
}

// operatorName returns the name of an operator as it is stored.
func operatorName(by string) string { return by[:min(len(by), math.MaxUint8)] }

func (r eventRecord) encode() ([]byte, error) {
	by := operatorName(r.Event.By)
	data := make([]byte, 0, 3+len(r.Origin)+len(by)+binary.MaxVarintLen64+64+len(r.Event.Value))
	data = append(data, eventVersion, byte(len(r.Origin)))
	data = append(data, r.Origin...)
	data = append(data, byte(len(by)))
	data = append(data, by...)
	data = binary.AppendUvarint(data, r.Seq)
	data, err := revocation.AppendEvent(data, r.Event)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli)), nil
}
