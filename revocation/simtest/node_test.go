package simtest_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store/origins"
)

// grace is how long a replaced refresh token is accepted.
const grace = 5 * time.Second

// node is a machine with a broker of the cluster.
type node struct {
	machine
	c     *cluster
	name  string
	p     *process // nil while none runs
	began time.Duration

	cutEngine, cutFeed       time.Duration // until then
	delay                    time.Duration // to the engine and back
	readFaults, commitFaults float64
	hintLoss                 float64
	hintDelay                time.Duration
	backlog                  [][]byte
}

const quickEngine = 4 * time.Millisecond

func newNode(c *cluster, i int) *node {
	n := &node{machine: newMachine(c.w), c: c, name: fmt.Sprintf("broker %d", i), delay: quickEngine, hintDelay: quickEngine}
	n.commitFaults = c.commitFaults
	n.wallOff = c.w.between(-time.Second, time.Second)
	return n
}

// start starts the process.
func (n *node) start() {
	if n.p != nil {
		return
	}
	ctx, kill := context.WithCancel(n.w.ctx)
	n.began = n.mono()
	p := &process{n: n, ctx: ctx, kill: kill, work: make(chan struct{}, 1)}
	n.p, n.backlog = p, nil
	p.spawn((*task).main)
}

func (n *node) crash() {
	if n.p == nil {
		return
	}
	n.w.say("%s is killed", n.name)
	p := n.p
	n.p = nil
	p.kill()
	if l := p.ledger; l != nil {
		go l.Close()
	}
}

// main joins the cluster and starts the periodic work.
func (p *task) main() {
	w, n := p.n.w, p.n
	p.link = newLink(p.process)
	for {
		run, err := origins.Join(p.ctx, origins.Config{
			Engine: p.link, Name: n.name, KEK: "kek", Wall: p.wall, Mono: p.mono, Sleep: p.sleep, Grace: grace,
			Logger: slog.New(slog.DiscardHandler),
		})
		if !p.turn() {
			return
		}
		if err == nil {
			p.run = run
			break
		}
		w.say("%s cannot join: %v", n.name, err)
		if p.sleep(p.ctx, time.Second) != nil {
			return
		}
	}
	deny := revocation.NewDenylist()
	for {
		l, err := ledger.Open(p.ctx, ledger.Config{
			Store: p.run, Run: p.run, Denylist: deny, Wall: p.wall, Mono: p.mono,
			Kids:         func() []string { return n.c.keys.compromised },
			CollectEvery: 5 * time.Second,
			Logger:       slog.New(slog.DiscardHandler),
		})
		if !p.turn() {
			if l != nil {
				l.Close()
			}
			return
		}
		if err == nil {
			p.deny, p.ledger = deny, l
			break
		}
		w.say("%s cannot open the ledger: %v", n.name, err)
		if p.sleep(p.ctx, time.Second) != nil {
			return
		}
	}
	if n.c.store == "" {
		n.c.store = p.ledger.StoreID()
	}
	if id := p.ledger.StoreID(); id != n.c.store {
		w.fail("%s has store %s, others %s", n.name, id, n.c.store)
	}
	n.c.runs[p.run.Origin()] = true
	w.say("%s is up: origin %.4s", n.name, p.run.Origin())
	p.spawn((*task).committer)
	p.spawn((*task).follow)
	p.every(time.Second, (*task).heartbeat)
	p.every(time.Second, (*task).tick)
	p.every(5*time.Second, (*task).upkeep)
}

// running reports whether the process is up.
func (n *node) running() bool { return n.p != nil && n.p.ledger != nil }

func (n *node) stopped() time.Duration { return n.pausedUntil }

// handle handles a request in a task of its own.
func (n *node) handle(request func(answerer)) {
	n.do(func() {
		if !n.running() {
			request(nil)
			return
		}
		n.p.spawn(func(p *task) { request(p) })
	})
}

func (p *task) tokenSet() tokenSet { return p.n.c.keys.tokenSet(p.n.c.store) }
func (p *task) feedSet() feedSet   { return p.n.c.keys.feedSet(p.n.c.store) }

func (p *task) active(t *token) bool {
	revoked, err := p.verify(t)
	return err == nil && !revoked && slices.Contains(p.n.c.keys.tokens, t.KID) && p.ledger.Now().Unix() < t.exp
}

// verify reports whether a token is revoked, by everything that was acknowledged before the request.
func (p *task) verify(t *token) (bool, error) {
	arrived := p.n.w.now
	if p.n.w.bug != bugVerifyWithoutBarrier {
		err := p.ledger.Barrier(p.ctx)
		if !p.turn() {
			return false, p.ctx.Err()
		}
		if err != nil {
			return false, err
		}
	}
	revoked := p.deny.Revoked(t.Subject)
	counts["verified tokens"]++
	if !revoked && t.acked && t.ackedAt < arrived && p.ledger.TimeFloor() < t.exp+margin {
		p.n.w.fail("5: %s verifies a token of session %.6s at %s that was revoked at %s", p.n.name, t.SID, arrived, t.ackedAt)
	}
	return revoked, nil
}

// encoded answers a catch-up.
func (p *task) encoded(after string) (text []byte, form revocation.Form, err error) {
	n, w, arrived := p.n, p.n.w, p.n.w.now
	form = revocation.FormBinary
	if w.chance(0.2) {
		form = revocation.FormJSON
	}
	text, err = p.answer(p.position(after), form)
	if !p.turn() {
		return nil, form, p.ctx.Err()
	}
	if err != nil {
		w.say("%s does not answer: %v", n.name, err)
		return nil, form, err
	}
	a, err := decodeAnswer(text, form)
	if err != nil {
		w.fail("%v", err)
		return nil, form, err
	}
	heads := make(map[string]uint64, len(a.Origins))
	for _, o := range a.Origins {
		heads[o.Origin] = o.Head
	}
	counts["answers"]++
	n.c.audit.heads(n, "an answer", arrived, heads)
	return text, form, nil
}

func decodeAnswer(text []byte, form revocation.Form) (*revocation.Answer, error) {
	if form == revocation.FormJSON {
		return revocation.DecodeAnswer(bytes.NewReader(text))
	}
	return revocation.DecodeBinaryAnswer(bytes.NewReader(text))
}

// checkRecord checks P1: what was acknowledged before the request is in a full answer and in the broker's own denylist.
func (p *task) checkRecord() {
	w, begun := p.n.w, p.n.w.now
	text, err := p.answer("", revocation.FormBinary)
	if !p.turn() || err != nil {
		return
	}
	a, err := decodeAnswer(text, revocation.FormBinary)
	if err != nil {
		w.fail("%v", err)
		return
	}
	d := revocation.NewDenylist()
	d.SetKids(a.Kids)
	d.Apply(a.Events...)
	for _, t := range w.twin.tokens {
		if !t.acked || t.ackedAt >= begun || a.AtMS/1000 > t.exp {
			continue
		}
		if !d.Revoked(t.Subject) {
			w.fail("P1: a token of session %.6s is revoked and alive, and no answer of %s says so", t.SID, p.n.name)
		}
		if !p.deny.Revoked(t.Subject) {
			w.fail("P1: a token of session %.6s is revoked and alive, and %s itself has forgotten it", t.SID, p.n.name)
		}
	}
}
