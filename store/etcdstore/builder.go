package etcdstore

import (
	"errors"
	"fmt"
	"math"

	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

const (
	// maxTxnBytes is a little less than the members' default for --max-request-bytes, 1.5 MiB.
	maxTxnBytes = 3<<19 - 16<<10
	// minTxnBytes is the size to which the limit is lowered at most: a batch has to fit.
	minTxnBytes = sealBytes + 128<<10
	// overhead bounds what the encoding of a request adds to the keys and the value of a write.
	overhead = 64
	// sealOps and sealBytes bound what a seal writes: one batch.
	sealOps   = 1
	sealBytes = revocation.MaxBatchBytes + overhead
	// sealed is the owner of what the seal writes.
	sealed = -1
)

// builder makes the transaction of one commit. Its limits are those of the members for a nested transaction:
// the outer operations reduce how many an inner one may have.
type builder struct {
	store *Store
	fence store.Fence
	taken map[string]bool // keys of the changes so far
	full  bool            // a change did not fit

	parts  []*part
	group  *part // the part of the changes with events, or nil
	events []revocation.Event
	count  int // of changes in the parts
	bytes  int // of the transaction, at most
	inner  int // the most operations of a part
}

// part is a nested transaction: a change, or the group of those with events.
type part struct {
	changes []int // their indexes
	writes  int   // operations of its writes
	keys    []compared
	compare []clientv3.Cmp
	then    []clientv3.Op
	orElse  []clientv3.Op
}

// compared is a key whose revision a part compares, and which it reads if it is refused.
type compared struct {
	key   string
	owner int // the index of its change, or sealed
	want  int64
}

func (s *Store) newBuilder(fence store.Fence) *builder {
	b := &builder{store: s, fence: fence, taken: map[string]bool{}}
	if fence.Key != "" {
		b.bytes = b.size(store.Write{Key: fence.Key}) + len(fence.Value) + len(fence.Sealed) + 2*valueOverhead
	}
	return b
}

// size bounds the bytes of a write: its key is also compared, and read by a refused part.
func (b *builder) size(w store.Write) int {
	return 3*len(b.store.name(w.Key)) + valueOverhead + len(w.Value) + overhead
}

// add adds a change and returns the error that refuses it before it is sent.
func (b *builder) add(i int, change store.Change) error {
	if b.full {
		return store.ErrTooBig
	}
	p := &part{changes: []int{i}}
	size, err := b.write(p, i, change.Writes)
	if err != nil {
		return err
	}
	shared := false
	for _, w := range change.Writes {
		shared = shared || b.taken[w.Key]
	}
	for _, w := range change.Writes {
		b.taken[w.Key] = true
	}
	hasEvents := len(change.Events) > 0
	switch {
	case shared:
		return store.ErrRetry
	case len(change.Writes) == 0 && !hasEvents:
		return nil
	case !b.fits(p, size, hasEvents):
		if len(b.parts) == 0 {
			return fmt.Errorf("committing: one change of %d writes and %d bytes exceeds the limits of etcd", len(change.Writes), size)
		}
		b.full = true
		return store.ErrTooBig
	}
	b.events, b.count = append(b.events, change.Events...), b.count+1
	switch {
	case hasEvents && b.group != nil:
		b.group.join(p)
		return nil
	case hasEvents:
		b.group = p
	}
	b.parts = append(b.parts, p)
	return nil
}

// fits reports whether there is room for the part, and takes it.
func (b *builder) fits(p *part, size int, hasEvents bool) bool {
	outer, inner := len(b.parts)+2, p.writes // with it and the fence
	if hasEvents {
		inner += sealOps + 1 // and the fence
		if b.group == nil {
			size += sealBytes + 3*len(b.store.name("")) + 3*store.MaxKeySize
		} else {
			outer--
			inner += b.group.writes
		}
	}
	inner = max(inner, b.inner)
	if outer+inner > b.store.config.MaxTxnOps || b.bytes+size > b.store.maxBytes {
		return false
	}
	b.bytes, b.inner = b.bytes+size, inner
	return true
}

// join adds the operations of another part.
func (p *part) join(other *part) {
	p.changes, p.writes, p.keys = append(p.changes, other.changes...), p.writes+other.writes, append(p.keys, other.keys...)
	p.compare, p.then, p.orElse = append(p.compare, other.compare...), append(p.then, other.then...), append(p.orElse, other.orElse...)
}

// write adds writes to a part and returns their size. Of several writes of a key the last one is stored.
func (b *builder) write(p *part, owner int, writes []store.Write) (size int, err error) {
	last := make(map[string]store.Write, len(writes))
	var order []string
	for _, w := range writes {
		before, again := last[w.Key]
		switch {
		case w.Key == "" || w.Key[0] == 0 || len(w.Key) > store.MaxKeySize:
			return 0, fmt.Errorf("committing: %.40q is not a key", w.Key)
		case w.Key == b.fence.Key:
			return 0, fmt.Errorf("committing: a change writes the fence's record %q", w.Key)
		case w.ExpiresAt < 0:
			return 0, fmt.Errorf("committing %q: negative expiry", w.Key)
		case !w.Blind && w.Expect > math.MaxInt64, again && !w.Blind && (!before.Delete || w.Expect != 0):
			return 0, store.ErrConflict // the revision of this commit is not known yet
		case !again:
			order = append(order, w.Key)
			if !w.Blind {
				b.compare(p, owner, w)
			}
		}
		last[w.Key] = w
		size += b.size(w)
	}
	for _, key := range order {
		p.then = append(p.then, b.store.op(last[key]))
	}
	p.writes += len(order)
	return size, nil
}

func (b *builder) compare(p *part, owner int, w store.Write) {
	want := int64(w.Expect)
	if want == 0 {
		want = b.store.absent(w.Key)
	}
	name := b.store.name(w.Key)
	p.keys = append(p.keys, compared{w.Key, owner, want})
	p.compare = append(p.compare, clientv3.Compare(clientv3.ModRevision(name), "=", want))
	p.orElse = append(p.orElse, clientv3.OpGet(name))
}

func (s *Store) op(w store.Write) clientv3.Op {
	if w.Delete {
		return clientv3.OpDelete(s.name(w.Key))
	}
	return clientv3.OpPut(s.name(w.Key), encodeValue(w))
}

// seal adds the seal's writes to the group. It fills errs for changes that share a key with them.
func (b *builder) seal(seal store.Seal, errs []error) error {
	if len(b.events) == 0 {
		return nil
	}
	if seal == nil {
		return errors.New("committing: revocation events without a seal")
	}
	writes, err := seal(b.events)
	p := &part{}
	if err == nil {
		_, err = b.write(p, sealed, writes)
	}
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	keys := make(map[string]bool, len(writes))
	for _, w := range writes {
		keys[w.Key] = true
	}
	var parts []*part
	for _, other := range b.parts {
		switch {
		case !other.writesOneOf(b.store, keys):
			parts = append(parts, other)
		case other == b.group:
			return errors.New("sealing: the seal and a change with events write the same key")
		default:
			errs[other.changes[0]] = store.ErrRetry
		}
	}
	b.parts = parts
	b.group.join(p)
	return nil
}

func (p *part) writesOneOf(s *Store, keys map[string]bool) bool {
	for _, op := range p.then {
		if keys[s.key(op.KeyBytes())] {
			return true
		}
	}
	return false
}

// txn returns the outer comparison and operations. The fence is written as sealed only together with the group.
func (b *builder) txn() (compare []clientv3.Cmp, then []clientv3.Op) {
	if b.fence.Key != "" {
		compare = append(compare, clientv3.Compare(clientv3.ModRevision(b.store.name(b.fence.Key)), "=", int64(b.fence.Expect)))
		put := func(value []byte) clientv3.Op {
			return b.store.op(store.Write{Key: b.fence.Key, Value: value})
		}
		if b.group != nil {
			b.group.then, b.group.orElse = append(b.group.then, put(b.fence.Sealed)), append(b.group.orElse, put(b.fence.Value))
		} else {
			then = append(then, put(b.fence.Value))
		}
	}
	for _, p := range b.parts {
		then = append(then, clientv3.OpTxn(p.compare, p.then, p.orElse))
	}
	return compare, then
}
