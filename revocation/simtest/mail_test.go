package simtest_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"

	"tokenbroker/revocation"
)

// mail is the form of messages on the network. Some runs really sign and verify; in the others, which are
// much faster, a message is the number of its content.
type mail struct {
	signed bool
	named  int
	said   []letter
	sent   [][]byte // what an eavesdropper has
	leaked []*feedKey
}

type letter struct {
	key    *feedKey
	forged bool // not signed with that key
	msg    revocation.Message
}

// seal returns a message as it is sent. A forged one names the key but is not signed with it.
func (w *world) seal(key *feedKey, m revocation.Message, forged bool) []byte {
	if !w.mail.signed {
		w.mail.said = append(w.mail.said, letter{key: key, forged: forged, msg: m})
		return binary.BigEndian.AppendUint32(nil, uint32(len(w.mail.said)-1))
	}
	private := key.private
	if forged {
		private = w.mail.newFeedKey("").private
	}
	typ, payload := revocation.HeartbeatType, any(m.Heartbeat)
	if m.Batch != nil {
		typ, payload = revocation.BatchType, m.Batch
	}
	raw, err := revocation.SignMessage(private, key.kid, typ, payload)
	if err != nil {
		w.fail("%v", err)
	}
	return raw
}

func (m *mail) open(raw []byte, key func(kid string) (ed25519.PublicKey, bool)) (revocation.Message, error) {
	if m.signed {
		return revocation.ParseMessage(raw, key)
	}
	l := m.said[binary.BigEndian.Uint32(raw)]
	if _, ok := key(l.key.kid); !ok {
		return revocation.Message{}, fmt.Errorf("%w: %q", revocation.ErrUnknownKey, l.key.kid)
	}
	if l.forged {
		return revocation.Message{}, revocation.ErrSignature
	}
	l.msg.KID = l.key.kid
	return l.msg, nil
}

// leak reports whether that key has leaked.
func (m *mail) leak(kid string) bool {
	return slices.ContainsFunc(m.leaked, func(f *feedKey) bool { return f.kid == kid })
}

// overheard records some of the messages that were sent.
func (m *mail) overheard(raw []byte) {
	if len(m.sent) == 64 {
		m.sent = m.sent[:copy(m.sent, m.sent[32:])]
	}
	m.sent = append(m.sent, raw)
}

// attack is an attacker with access to the network, without a key or with a leaked one.
func (w *world) attack(s *service) {
	b := w.broker
	if b.ledger == nil || len(w.mail.sent) == 0 {
		return
	}
	key, forged := w.broker.keys.signing, true
	switch n := w.rng.IntN(4); {
	case n == 0:
		for range 8 {
			s.carry(w.mail.sent[w.rng.IntN(len(w.mail.sent))])
		}
		return
	case n == 1:
		key = w.mail.newFeedKey(w.mail.name("unknown key"))
	case n == 2 && len(w.mail.leaked) > 0:
		key, forged = w.mail.leaked[w.rng.IntN(len(w.mail.leaked))], false
	}
	m := revocation.Message{Heartbeat: &revocation.Heartbeat{
		V: revocation.Version, Store: b.ledger.StoreID(), Origin: b.ledger.Origin(), JWKS: "another",
		Head: uint64(w.rng.Int64N(revocation.MaxSeq)), Up: w.rng.Int64N(1 << 40), AtMS: b.ledger.Now().UnixMilli(),
	}}
	if w.chance(0.5) {
		m = revocation.Message{Batch: &revocation.Batch{
			V: revocation.Version, Store: b.ledger.StoreID(), Origin: b.ledger.Origin(),
			Seq: b.ledger.Head() + 1 + w.rng.Uint64N(3), Events: []revocation.Event{},
		}}
	}
	for range 1 + w.rng.IntN(3)*w.rng.IntN(40) {
		s.carry(w.seal(key, m, forged))
	}
}
