package simtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// broker is a machine with a store and, while it runs, a process with the real ledger.
type broker struct {
	machine
	store  *memstore.Store
	keys   *keyring
	ledger *ledger.Ledger // nil if the broker does not run
	deny   *revocation.Denylist
	life   int
	epoch  int64 // the last one given
	maxExp int64
	dead   bool // for good

	cutFeed time.Duration // until then nothing goes out
	backlog [][]byte      // and batches wait
	backup  *backup
	heads   []uint64 // for bugHeadBeforeUp
}

func newBroker(w *world) *broker {
	return &broker{machine: newMachine(w), store: memstore.New(nil), keys: newKeyring(w)}
}

func (b *broker) start() {
	b.w.sync()
	began := b.mono()
	b.deny = revocation.NewDenylist()
	l, err := ledger.Open(b.w.ctx, ledger.Config{
		Store: b.store, Denylist: b.deny,
		Wall:             func() time.Time { return time.UnixMilli(b.wallMS()) },
		Mono:             func() time.Duration { return b.mono() - began },
		Kids:             func() []string { return b.keys.compromised },
		SignOutEverybody: b.signOut,
	})
	if err != nil {
		b.w.fail("opening the ledger: %v", err)
		return
	}
	b.ledger, b.heads, b.backlog = l, nil, nil
	b.life++
	b.w.say("a broker is up: store %.4s, origin %.4s", l.StoreID(), l.Origin())
	b.checkRecord()
	b.every(time.Second, b.heartbeat)
	b.every(5*time.Second, b.upkeep)
	b.every(300*time.Millisecond, b.work)
}

func (b *broker) stopped() time.Duration { return b.pausedUntil }

func (b *broker) handle(request func(answerer)) {
	b.do(func() {
		if b.ledger == nil {
			request(nil)
			return
		}
		request(b)
	})
}

func (b *broker) tokenSet() tokenSet { return b.keys.tokenSet(b.ledger.StoreID()) }
func (b *broker) feedSet() feedSet   { return b.keys.feedSet(b.ledger.StoreID()) }

func (b *broker) active(t *token) bool {
	return !b.deny.Revoked(t.Subject) && slices.Contains(b.keys.tokens, t.KID) && b.ledger.Now().Unix() < t.exp
}

// every runs work periodically in this run of the process.
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
	h, err := b.ledger.Heartbeat(b.w.ctx, `"`+b.keys.tokenETag+`"`)
	if err != nil {
		b.w.fail("making a heartbeat: %v", err)
		return
	}
	b.heads = append(b.heads, h.Head)
	if b.w.bug == bugHeadBeforeUp {
		h.Head = b.heads[max(0, len(b.heads)-4)]
		h.Heads[h.Origin] = h.Head
	}
	raw := b.w.seal(b.keys.signing, revocation.Message{Heartbeat: &h}, false)
	if b.w.now >= b.cutFeed {
		b.flush()
		b.w.publish(raw)
	}
}

// flush moves the publisher's cursor after a reconnect to a little before its last position.
func (b *broker) flush() {
	for _, raw := range b.backlog {
		b.w.publish(raw)
	}
	b.backlog = b.backlog[:0]
}

func (w *world) publish(raw []byte) {
	w.mail.overheard(raw)
	for _, s := range w.services {
		s.carry(raw)
	}
}

func (b *broker) announce(seq uint64, events ...revocation.Event) {
	raw := b.w.seal(b.keys.signing, revocation.Message{Batch: &revocation.Batch{
		V: revocation.Version, Store: b.ledger.StoreID(), Origin: b.ledger.Origin(), Seq: seq, At: events[0].At, Events: events,
	}}, false)
	if b.w.now < b.cutFeed {
		b.backlog = append(b.backlog, raw)
		return
	}
	b.flush()
	b.w.publish(raw)
}

var errKilled = errors.New("killed")

// commit records events. Callers learn of them if the process was not killed before.
func (b *broker) commit(events ...revocation.Event) error {
	b.w.sync()
	if err := b.store.Commit(b.w.ctx, []store.Change{{Events: events}}, b.ledger.Seal)[0]; err != nil {
		b.w.fail("committing: %v", err)
		return err
	}
	var hit []*token
	for _, e := range events {
		hit = append(hit, b.w.twin.hit(b.ledger.StoreID(), e)...)
	}
	for _, t := range hit {
		t.revoked = true
	}
	if b.w.chance(0.02) && !b.w.calm {
		b.crash()
		return errKilled
	}
	seq := b.ledger.Committed()
	ack(hit, b.w.now)
	for _, e := range events {
		b.w.say("revoked %s %q %d as %d until %d", e.Kind, e.Value, e.Epoch, seq, e.ExpiresAt)
	}
	b.announce(seq, events...)
	return nil
}

func (b *broker) crash() {
	b.w.say("a broker is killed")
	b.ledger = nil
	b.w.after(b.w.between(0, 8*time.Second), func() { b.do(b.recover) })
}

func (b *broker) recover() {
	switch {
	case b.ledger != nil || b.dead:
	case b.backup != nil && b.w.broker == b && b.w.old == nil && b.w.chance(0.3):
		b.restore()
	default:
		b.start()
	}
}

// encoded returns an answer in one of the forms.
func (b *broker) encoded(after string) (text []byte, form revocation.Form, err error) {
	form = revocation.FormBinary
	if b.w.chance(0.2) {
		form = revocation.FormJSON
	}
	e, err := b.ledger.EncodedAnswer(b.w.ctx, after, form)
	if err != nil {
		return nil, form, fmt.Errorf("answering: %w", err)
	}
	defer func() { _ = e.Close() }()
	var buf bytes.Buffer
	if _, err := e.WriteTo(&buf); err != nil {
		return nil, form, fmt.Errorf("answering: %w", err)
	}
	return buf.Bytes(), form, nil
}

// answer is for readers without a denylist.
func (b *broker) answer(after string) (*revocation.Answer, error) {
	text, form, err := b.encoded(after)
	if err != nil {
		return nil, err
	}
	if form == revocation.FormJSON {
		return revocation.DecodeAnswer(bytes.NewReader(text))
	}
	return revocation.DecodeBinaryAnswer(bytes.NewReader(text))
}

// checkRecord checks P1.
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
	d.SetKids(a.Kids)
	d.Apply(a.Events...)
	for i, t := range b.w.twin.tokens {
		if t.keys != b.keys || !t.revoked || a.AtMS/1000 > t.exp {
			continue
		}
		if !d.Revoked(t.Subject) {
			b.w.fail("P1: token %d is revoked and alive, and no answer says so", i)
		}
		if !b.deny.Revoked(t.Subject) && t.acked {
			b.w.fail("P1: token %d is revoked and alive, and the broker itself has forgotten it", i)
		}
	}
}
