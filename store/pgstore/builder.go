package pgstore

import (
	"errors"
	"fmt"
	"math"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

const (
	// maxWrites bounds the writes of a commit: a key without a record takes one of the server's locks, of which there are
	// 64 for each of its connections by default (max_locks_per_transaction).
	maxWrites = 1000
	// maxBytes bounds the keys and values of a commit.
	maxBytes = 8 << 20
	// overhead bounds what the encoding of a write adds.
	overhead = 64
	// sealed is the owner of what the seal writes.
	sealed = -1
	// eventsPart is the part of the changes with events.
	eventsPart = 0
)

// builder makes the statement of one commit.
type builder struct {
	fence   store.Fence
	keys    map[string]int // the owner of each key
	entries []entry
	members map[int][]int // the changes of each part
	events  []revocation.Event
	bytes   int
	full    bool // a change did not fit
}

// entry is the last write of a key by its owner, and the revision that the key must have.
type entry struct {
	store.Write
	owner   int // the index of its change, or sealed
	part    int32
	compare bool
	expect  store.Revision
}

func newBuilder(fence store.Fence) *builder {
	return &builder{fence: fence, keys: make(map[string]int), members: make(map[int][]int), bytes: len(fence.Value) + len(fence.Sealed) + overhead}
}

// add adds a change and returns the error that refuses it before it is sent.
func (b *builder) add(i int, change store.Change) error {
	if b.full {
		return store.ErrTooBig
	}
	part := i + 1
	if len(change.Events) > 0 {
		part = eventsPart
	}
	entries, size, err := b.entriesOf(i, part, change.Writes)
	if err != nil {
		return err
	}
	shared := false
	for _, e := range entries {
		if _, taken := b.keys[e.Key]; taken {
			shared = true
		}
		b.keys[e.Key] = i
	}
	switch {
	case shared:
		return store.ErrRetry
	case len(entries) == 0 && part != eventsPart:
		return nil
	case len(b.entries)+len(entries) > maxWrites || b.bytes+size > maxBytes:
		if len(b.members) == 0 {
			return fmt.Errorf("committing: one change of %d writes and %d bytes exceeds the limits of %d and %d", len(entries), size, maxWrites, maxBytes)
		}
		b.full = true
		return store.ErrTooBig
	}
	b.take(i, part, entries, size)
	b.events = append(b.events, change.Events...)
	return nil
}

func (b *builder) take(owner, part int, entries []entry, size int) {
	b.entries, b.bytes = append(b.entries, entries...), b.bytes+size
	if owner != sealed {
		b.members[part] = append(b.members[part], owner)
	}
}

// entriesOf returns the entries of writes. Of several writes of a key the last one is stored.
func (b *builder) entriesOf(owner, part int, writes []store.Write) (entries []entry, size int, err error) {
	at := make(map[string]int, len(writes))
	for _, w := range writes {
		before, again := at[w.Key]
		switch {
		case w.Key == "" || w.Key[0] == 0 || len(w.Key) > store.MaxKeySize:
			return nil, 0, fmt.Errorf("committing: %.40q is not a key", w.Key)
		case w.Key == b.fence.Key:
			return nil, 0, fmt.Errorf("committing: a change writes the fence's record %q", w.Key)
		case w.ExpiresAt < 0:
			return nil, 0, fmt.Errorf("committing %q: negative expiry", w.Key)
		case !w.Blind && w.Expect > math.MaxInt64, again && !w.Blind && (!entries[before].Delete || w.Expect != 0):
			return nil, 0, store.ErrConflict // the revision of this commit is not known yet
		case again:
			entries[before].Write = w
		default:
			at[w.Key] = len(entries)
			entries = append(entries, entry{Write: w, owner: owner, part: int32(part), compare: !w.Blind, expect: w.Expect})
		}
		size += len(w.Key) + len(w.Value) + overhead
	}
	return entries, size, nil
}

// seal adds the seal's writes to the changes with events. It fills errs for changes that share a key with them.
func (b *builder) seal(seal store.Seal, errs []error) error {
	if len(b.events) == 0 {
		return nil
	}
	if seal == nil {
		return errors.New("committing: revocation events without a seal")
	}
	writes, err := seal(b.events)
	var entries []entry
	var size int
	if err == nil {
		entries, size, err = b.entriesOf(sealed, eventsPart, writes)
	}
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	again := make(map[int32]bool)
	for _, e := range entries {
		for _, other := range b.entries {
			switch {
			case other.Key != e.Key:
			case other.part == eventsPart:
				return errors.New("sealing: the seal and a change with events write the same key")
			default:
				again[other.part], errs[other.owner] = true, store.ErrRetry
			}
		}
	}
	kept := b.entries[:0]
	for _, e := range b.entries {
		if !again[e.part] {
			kept = append(kept, e)
		}
	}
	for part := range again {
		delete(b.members, int(part))
	}
	b.entries = kept
	b.take(sealed, eventsPart, entries, size)
	return nil
}

// args returns the parameters of commit_v1.
func (b *builder) args(s *Store, p *primary) (a args) {
	a.int(p.server)
	a.bool(s.config.LocalDurability)
	a.int(s.config.Now().Unix())
	if b.fence.Key == "" {
		a.bytes(nil)
	} else {
		a.bytes([]byte(b.fence.Key))
	}
	a.int(int64(min(b.fence.Expect, math.MaxInt64)))
	a.bytes(notNil(b.fence.Value))
	a.bytes(notNil(b.fence.Sealed))
	a.bool(len(b.events) > 0)
	parts, keys, values, expiries, expects := array{of: integer}, array{of: bytea}, array{of: bytea}, array{of: bigint}, array{of: bigint}
	values.data = make([]byte, 0, b.bytes)
	for _, e := range b.entries {
		parts.int32(e.part)
		keys.bytes([]byte(e.Key))
		if e.Delete {
			values.null()
		} else {
			values.bytes(e.Value)
		}
		if e.ExpiresAt == 0 {
			expiries.null()
		} else {
			expiries.int(e.ExpiresAt)
		}
		if e.compare {
			expects.int(int64(e.expect))
		} else {
			expects.null()
		}
	}
	for _, list := range []*array{&parts, &keys, &values, &expiries, &expects} {
		a.array(list)
	}
	return a
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
