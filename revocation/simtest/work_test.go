package simtest_test

import (
	"context"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// maxLife is the longest life of a token (s).
const maxLife = 48

// work signs a token or revokes something.
func (b *broker) work() {
	if b.w.calm {
		return
	}
	now := b.ledger.Now().Unix()
	if b.w.chance(0.5) {
		t := b.w.twin.add(b.ledger.StoreID(), now, 8+b.w.rng.Int64N(maxLife-8), b.epoch, b.w.rng.IntN(30))
		t.keys, t.KID = b.keys, b.keys.tokens[len(b.keys.tokens)-1]
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
	if b.w.chance(0.05) {
		b.bulk(now)
		return
	}
	e := revocation.Event{At: now, ExpiresAt: b.maxExp + margin, Reason: revocation.ReasonRevoked}
	switch n := b.w.rng.IntN(24); {
	case n < 10:
		e.Kind, e.Value = revocation.KindSID, t.SID
	case n < 18:
		e.Kind, e.Value = revocation.KindJTI, t.JTI
	case n == 18:
		e = b.ending(revocation.KindClient, t.ClientID)
	case n == 19:
		e = b.ending(revocation.KindAll, "")
	case n == 20:
		b.compromise(b.keys.compromiseTokenKey())
		return
	default:
		e = b.ending(revocation.KindSub, t.Sub)
	}
	_ = b.commit(e)
}

// bulk revokes some of the latest tokens at once.
func (b *broker) bulk(now int64) {
	var events []revocation.Event
	tokens := b.w.twin.tokens
	for _, t := range tokens[max(0, len(tokens)-30):] {
		if t.keys == b.keys && t.exp > now && b.w.chance(0.5) {
			events = append(events, revocation.Event{
				Kind: revocation.KindJTI, Value: t.JTI, At: now, ExpiresAt: t.exp + margin, Reason: revocation.ReasonRevoked,
			})
		}
	}
	if len(events) > 0 {
		_ = b.commit(events...)
	}
}

// ending returns an event with an epoch above every earlier one.
func (b *broker) ending(kind revocation.Kind, value string) revocation.Event {
	now := b.ledger.Now()
	b.epoch = max(b.epoch+1, now.UnixMilli())
	return revocation.Event{
		Kind: kind, Value: value, Epoch: b.epoch, At: now.Unix(), Reason: revocation.ReasonRevoked,
		ExpiresAt: max(b.maxExp, now.Unix()+maxLife) + margin,
	}
}

// compromise records what the keyring already knows.
func (b *broker) compromise(kid string) {
	b.w.say("key %s is compromised", kid)
	for _, t := range b.w.twin.tokens {
		t.revoked = t.revoked || t.KID == kid
	}
	now := b.ledger.Now().Unix()
	_ = b.commit(revocation.Event{
		Kind: revocation.KindKID, Value: kid, At: now, ExpiresAt: max(b.maxExp, now+maxLife) + margin, Reason: revocation.ReasonKeyCompromise,
	})
}

// signOut signs out all users, as the ledger does when its clock cannot be trusted.
func (b *broker) signOut(context.Context) error {
	b.w.say("everybody is signed out: the clock is suspect")
	if b.w.bug == bugFloorWithoutSignOut {
		return nil
	}
	return b.commit(b.ending(revocation.KindAll, ""))
}

// upkeep does the work of the ledger's Run.
func (b *broker) upkeep() {
	b.w.sync()
	n := 0
	if b.ledger.ClockSuspect() {
		if err := b.ledger.ResetTimeFloor(b.w.ctx); err != nil {
			return // killed in the meantime
		}
		b.checkRecord()
	}
	if b.w.bug == bugCollectByWall {
		n = b.collectByWall()
	} else {
		var err error
		if n, err = b.ledger.Collect(b.w.ctx); err != nil {
			b.w.fail("%v", err)
		}
	}
	if n == 0 && b.w.chance(0.8) {
		return
	}
	b.checkRecord()
	if n > 0 && b.w.chance(0.2) && !b.w.calm { // the clock that allowed it was wrong
		b.step(-b.w.pick(3*time.Minute, time.Hour, 365*24*time.Hour))
		if b.w.chance(0.3) {
			b.crash()
		}
	}
}

func (b *broker) collectByWall() (n int) {
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
			n++
		}
	}
	return n
}
