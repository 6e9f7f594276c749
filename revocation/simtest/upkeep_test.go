package simtest_test

import (
	"bytes"
	"context"
	"errors"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// follow runs the ledger's own loop, which follows the other brokers and collects.
func (p *task) follow() {
	err := p.ledger.Run(p.ctx)
	if p.turn() {
		p.ends(err)
	}
}

// ends ends the process because of an error, as a broker does. In these runs no engine is rewound.
func (p *task) ends(err error) {
	switch p.n.w.bug {
	case bugSerializableHeads, bugSharedEarly: // the broker finds it out, often too late
		p.n.w.after(0, func() { p.n.restart(time.Second) })
	default:
		p.n.w.fail("%s ends: %v", p.n.name, err)
	}
}

// heartbeat sends a heartbeat, which proves what it says.
func (p *task) heartbeat() {
	n := p.n
	h, err := p.ledger.Heartbeat(p.ctx, `"`+n.c.keys.tokenETag+`"`)
	if !p.turn() {
		return
	}
	if err != nil {
		n.w.say("%s sends no heartbeat: %v", n.name, err)
		return
	}
	if n.w.bug == bugUpAfterHeads {
		h.Up = p.mono().Milliseconds()
	}
	if h.Heads[h.Origin] < h.Head {
		n.w.fail("4: %s sends head %d and heads %v", n.name, h.Head, h.Heads)
	}
	n.c.audit.heads(n, "a heartbeat", p.readAt(h.Up), h.Heads)
	counts["heartbeats"]++
	raw := n.w.seal(n.c.keys.signing, revocation.Message{Heartbeat: &h}, false)
	if n.w.now >= n.cutFeed {
		n.publish(raw)
	}
}

// tick lets the run observe the other brokers. A commit finds out that the run was ended, and joins again.
func (p *task) tick() {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	err := p.run.Tick(ctx)
	if !p.turn() {
		return
	}
	switch {
	case errors.Is(err, store.ErrFenced):
		p.commit(store.Change{Writes: []store.Write{{Key: "nothing", Delete: true, Blind: true}}})
	case errors.Is(err, origins.ErrRewound), errors.Is(err, origins.ErrNameTaken):
		p.ends(err)
	}
}

// upkeep checks the record, and rotates the keyring.
func (p *task) upkeep() {
	if p.n.w.chance(0.3) {
		p.checkRecord()
	}
	if p.n.w.chance(0.3) && !p.dead() {
		p.rotateKeyring()
	}
}

// answer makes a catch-up answer.
func (p *task) answer(after string, form revocation.Form) ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 3*time.Second)
	defer cancel()
	e, err := p.ledger.EncodedAnswer(ctx, after, form)
	if err != nil {
		return nil, err
	}
	defer func() { _ = e.Close() }()
	var text bytes.Buffer
	if _, err := e.WriteTo(&text); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}
