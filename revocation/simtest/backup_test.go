package simtest_test

import (
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// backup is a copy of a store and of the other state that its broker keeps.
type backup struct {
	records []store.Record
	epoch   int64
	maxExp  int64
	clock   time.Duration // the wall clock then, as an offset
}

func (b *broker) save() {
	records, err := b.store.List(b.w.ctx, "", "", 1<<20)
	if err != nil {
		b.w.fail("saving: %v", err)
	}
	b.backup = &backup{records: records, epoch: b.epoch, maxExp: b.maxExp, clock: b.w.now + b.wallOff}
}

// restore goes back to the backup: another store, other keys, those of before compromised
// permanently. Now and then the one that it replaces was not dead at all.
func (b *broker) restore() {
	w := b.w
	if w.now+b.wallOff < b.backup.clock { // refused
		b.start()
		return
	}
	w.say("a backup is restored")
	n := &broker{machine: b.machine, store: memstore.New(nil), epoch: b.backup.epoch + 1, maxExp: b.backup.maxExp}
	n.keys = newKeyring(w)
	n.keys.compromised = b.keys.all()
	for _, r := range b.backup.records {
		if r.Key == "ledger.store" && w.bug != bugRestoreKeepsID {
			continue
		}
		w := store.Write{Key: r.Key, Value: r.Value, Blind: true}
		if err := n.store.Commit(b.w.ctx, []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
			b.w.fail("restoring: %v", err)
		}
	}
	w.broker = n
	n.start()
	if w.calm || !w.chance(0.3) {
		b.end()
		return
	}
	n.machine = newMachine(w)
	n.wallOff = b.wallOff
	w.old = b
	b.start()
	w.after(w.between(time.Second, 20*time.Second), b.end)
}

// end stops the broker permanently. Every service then knows that its signatures are no longer accepted.
func (b *broker) end() {
	if b.dead {
		return
	}
	b.w.say("the broker of the replaced store has ended")
	b.dead, b.ledger = true, nil
	if b.w.old == b {
		b.w.old = nil
	}
	var ended []*token
	for _, t := range b.w.twin.tokens {
		if t.keys == b.keys {
			ended = append(ended, t)
			t.revoked = true
		}
	}
	ack(ended, b.w.now)
}
