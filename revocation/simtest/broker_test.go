package simtest_test

import (
	"bytes"
	"fmt"
	"time"

	"tokenbroker/broker/store"
	"tokenbroker/broker/store/memstore"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
)

// broker is a machine with a store and, while it lives, a process with the real ledger.
type broker struct {
	machine
	store  *memstore.Store
	ledger *ledger.Ledger // nil: not running
	life   int
	epoch  int64
	maxExp int64
	backup []store.Record
	saved  int64    // the epoch in the backup
	heads  []uint64 // for bugHeadBeforeUp
}

func newBroker(w *world) *broker {
	return &broker{machine: newMachine(w), store: memstore.New(nil), epoch: 1}
}

func (b *broker) start() {
	b.w.sync()
	began := b.mono()
	l, err := ledger.Open(b.w.ctx, ledger.Config{
		Store: b.store, Denylist: revocation.NewDenylist(),
		Wall: func() time.Time { return time.UnixMilli(b.wallMS()) },
		Mono: func() time.Duration { return b.mono() - began },
	})
	if err != nil {
		b.w.fail("opening the ledger: %v", err)
		return
	}
	b.ledger, b.heads = l, nil
	b.life++
	b.w.say("the broker is up")
	b.checkRecord()
	b.every(time.Second, b.heartbeat)
	b.every(2*time.Second, b.collect)
	b.every(300*time.Millisecond, b.work)
}

// every runs work of this life of the process.
func (b *broker) every(d time.Duration, work func()) {
	life := b.life
	b.do(func() {
		if b.life == life && b.ledger != nil {
			work()
			b.w.after(d, func() {
				if b.life == life {
					b.every(d, work)
				}
			})
		}
	})
}

func (b *broker) heartbeat() {
	h := b.ledger.Heartbeat("e")
	b.heads = append(b.heads, h.Head)
	if b.w.bug == bugHeadBeforeUp {
		h.Head = b.heads[max(0, len(b.heads)-4)]
	}
	b.publish(revocation.Message{Heartbeat: &h})
}

func (b *broker) publish(m revocation.Message) {
	for _, s := range b.w.services {
		s.feed(m)
	}
}

// work signs a token or revokes something.
func (b *broker) work() {
	if b.w.calm {
		return
	}
	now := b.ledger.Now().Unix()
	if b.w.chance(0.5) {
		t := b.w.twin.add(b.ledger.StoreID(), now, 8+b.w.rng.Int64N(40), b.epoch, b.w.rng.IntN(30))
		b.maxExp = max(b.maxExp, t.exp)
		return
	}
	tokens := b.w.twin.tokens
	if len(tokens) == 0 {
		return
	}
	t := tokens[b.w.rng.IntN(len(tokens))]
	if t.store != b.ledger.StoreID() || t.exp <= now {
		return
	}
	e := revocation.Event{At: now, ExpiresAt: b.maxExp + margin, Reason: revocation.ReasonRevoked}
	switch n := b.w.rng.IntN(20); {
	case n < 9:
		e.Kind, e.Value = revocation.KindSID, t.SID
	case n < 16:
		e.Kind, e.Value = revocation.KindJTI, t.JTI
	default:
		b.epoch++
		e.Epoch = b.epoch
		e.Kind, e.Value = revocation.KindSub, t.Sub
		switch n {
		case 18:
			e.Kind, e.Value = revocation.KindClient, t.ClientID
		case 19:
			e.Kind, e.Value = revocation.KindAll, ""
		}
	}
	b.revoke(e)
}

func (b *broker) revoke(e revocation.Event) {
	b.w.sync()
	if err := b.store.Commit(b.w.ctx, []store.Change{{Events: []revocation.Event{e}}}, b.ledger.Seal)[0]; err != nil {
		b.w.fail("committing: %v", err)
		return
	}
	hit := b.w.twin.hit(b.ledger.StoreID(), e)
	for _, t := range hit {
		t.revoked = true
	}
	if b.w.chance(0.02) && !b.w.calm { // killed before anybody knows
		b.crash()
		return
	}
	seq := b.ledger.Committed()
	ack(hit, b.w.now)
	b.w.say("revoked %s %q as %d", e.Kind, e.Value, seq)
	b.publish(revocation.Message{Batch: &revocation.Batch{
		V: revocation.Version, Store: b.ledger.StoreID(), Origin: b.ledger.Origin(), Seq: seq, At: e.At, Events: []revocation.Event{e},
	}})
}

func (b *broker) collect() {
	b.w.sync()
	if b.w.bug == bugCollectByWall {
		b.collectByWall()
	} else if _, err := b.ledger.Collect(b.w.ctx); err != nil {
		b.w.fail("%v", err)
	}
	b.checkRecord()
}

func (b *broker) crash() {
	b.w.say("the broker is killed")
	b.ledger = nil
	b.w.after(b.w.between(0, 8*time.Second), func() { b.do(b.recover) })
}

func (b *broker) recover() {
	if b.ledger != nil {
		return
	}
	if b.backup != nil && b.w.chance(0.3) {
		b.restore()
		return
	}
	b.start()
}

// restore goes back to the backup: another store, other keys.
func (b *broker) restore() {
	b.w.say("a backup is restored")
	b.store = memstore.New(nil)
	for _, r := range b.backup {
		if r.Key == "ledger.store" && b.w.bug != bugRestoreKeepsID {
			continue
		}
		w := store.Write{Key: r.Key, Value: r.Value, Blind: true}
		if err := b.store.Commit(b.w.ctx, []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
			b.w.fail("restoring: %v", err)
		}
	}
	b.backup, b.epoch = nil, b.saved+1
	if b.w.bug != bugRestoreKeepsID {
		for _, t := range b.w.twin.tokens {
			t.revoked = true
		}
		ack(b.w.twin.tokens, b.w.now)
	}
	b.start()
}

func (b *broker) save() {
	records, err := b.store.List(b.w.ctx, "", "", 1<<20)
	if err != nil {
		b.w.fail("saving: %v", err)
	}
	b.backup, b.saved = records, b.epoch
}

// answer gives an encoded answer, in either form.
func (b *broker) answer(after string) (*revocation.Answer, error) {
	form, decode := revocation.FormBinary, revocation.DecodeBinaryAnswer
	if b.w.chance(0.3) {
		form, decode = revocation.FormJSON, revocation.DecodeAnswer
	}
	e, err := b.ledger.EncodedAnswer(b.w.ctx, after, form)
	if err != nil {
		return nil, fmt.Errorf("answering: %w", err)
	}
	defer func() { _ = e.Close() }()
	var buf bytes.Buffer
	if _, err := e.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("answering: %w", err)
	}
	return decode(&buf)
}

// checkRecord is P1.
func (b *broker) checkRecord() {
	if b.ledger == nil || b.w.failed != nil {
		return
	}
	b.w.sync()
	a, err := b.answer("")
	if err != nil {
		b.w.fail("%v", err)
		return
	}
	d := revocation.NewDenylist()
	d.Apply(a.Events...)
	for i, t := range b.w.twin.tokens {
		if t.store == a.Store && t.revoked && a.AtMS/1000 <= t.exp && !d.Revoked(t.Subject) {
			b.w.fail("P1: token %d is revoked and alive, and no answer says so", i)
		}
	}
}

func (b *broker) collectByWall() {
	records, err := b.store.List(b.w.ctx, "ledger.event.", "", 1<<20)
	if err != nil {
		b.w.fail("listing: %v", err)
	}
	a, err := b.answer("")
	if err != nil {
		b.w.fail("%v", err)
		return
	}
	over := true
	for _, e := range a.Events {
		over = over && e.ExpiresAt*1000 < b.wallMS()
	}
	for _, r := range records {
		if over {
			w := store.Write{Key: r.Key, Delete: true, Blind: true}
			if err := b.store.Commit(b.w.ctx, []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
				b.w.fail("deleting: %v", err)
			}
		}
	}
}
