package simtest_test

import (
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// login is a browser with one session.
type login struct {
	uid, sid   string
	generation uint32 // of its refresh token
	over       bool   // it was told that the session has ended
}

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	policy = session.Policy{AccessLife: 20 * time.Second, Idle: 10 * time.Minute, Absolute: time.Hour, Grace: grace, MaxSessions: 100}
)

// conflicts is how often a request is decided again.
const conflicts = 16

var errBusy = errors.New("service unavailable")

func (l *login) key() string { return "session." + l.uid + "." + l.sid }

// browse makes one request of a browser, or two at once.
func (c *cluster) browse() {
	w := c.w
	if w.calm {
		return
	}
	defer w.after(w.between(0, c.pace), c.browse)
	if len(c.logins) == 0 || w.chance(0.1) {
		uid := fmt.Sprintf("user-%d", w.rng.IntN(5))
		l := &login{uid: uid, sid: revocation.EncodeID(fmt.Appendf(nil, "%-16d", 1000+len(c.logins)))}
		c.logins = append(c.logins, l)
		c.request(func(p *task) { p.open(l) })
		return
	}
	l := c.logins[max(0, len(c.logins)-1-w.rng.IntN(8))]
	switch n := w.rng.IntN(20); {
	case l.generation == 0 || l.over && n > 2:
	case n < 10:
		c.request(func(p *task) { p.refresh(l, l.generation) })
	case n < 13:
		for range 2 {
			generation := l.generation
			c.request(func(p *task) { p.refresh(l, generation) })
		}
	case n == 13:
		old := max(l.generation, 3) - 2
		c.request(func(p *task) { p.refresh(l, old) })
	case n < 16:
		c.request(func(p *task) { p.logOff(l) })
		if w.chance(0.3) { // through two brokers
			c.request(func(p *task) { p.logOff(l) })
		}
	case n < 18:
		c.request((*task).revokeToken)
	default:
		c.request((*task).verifyToken)
	}
}

// request sends a request to any broker.
func (c *cluster) request(serve func(*task)) {
	w, n := c.w, c.any()
	sent := w.now
	w.after(w.between(0, calmDelay), func() {
		if n.pausedUntil > sent+silence { // the broker closes such connections when it continues
			return
		}
		n.handle(func(a answerer) {
			if p, ok := a.(*task); ok && w.now-sent < silence {
				serve(p)
			}
		})
	})
}

// decide reads the session and decides until the decision is stored. It returns the effects, with the batch of their events.
func (p *task) decide(l *login, m session.Message) (session.Effects, *request, error) {
	for range conflicts {
		r, err := p.run.GetMany(p.ctx, []string{l.key()})
		if !p.turn() {
			return session.Effects{}, nil, p.ctx.Err()
		}
		if err != nil {
			return session.Effects{}, nil, errBusy
		}
		st := session.State{User: &session.User{UID: l.uid}, TimeFloor: p.ledger.RecordedTimeFloor()}
		st.Denylisted = p.deny.Revoked(revocation.Subject{SID: l.sid})
		if r[0].Revision != 0 {
			if st.Session, err = session.DecodeSession(r[0].Value); err != nil {
				p.n.w.fail("%v", err)
				return session.Effects{}, nil, err
			}
		}
		eff := session.Step(p.ledger.Now(), policy, st, m)
		if eff.PutSession == nil {
			return eff, &request{}, nil
		}
		for i := range eff.Events { // a shorter margin, so that runs see collections
			eff.Events[i].ExpiresAt -= int64(session.EventMargin/time.Second) - margin
		}
		value, err := eff.PutSession.Encode()
		if err != nil {
			p.n.w.fail("%v", err)
		}
		done := p.commit(store.Change{Writes: []store.Write{{Key: l.key(), Value: value, Expect: r[0].Revision}}, Events: eff.Events})
		switch {
		case done.err == nil:
			return eff, done, nil
		case !errors.Is(done.err, store.ErrConflict):
			return session.Effects{}, nil, errBusy
		}
	}
	return session.Effects{}, nil, errBusy
}

func (p *task) open(l *login) {
	eff, _, err := p.decide(l, session.Open{SID: l.sid, SecretHash: secret, Channel: session.ChannelCookie})
	if err == nil && eff.Refusal == "" {
		p.sign(l, eff)
	}
}

// refresh presents the refresh token of a generation.
func (p *task) refresh(l *login, generation uint32) {
	eff, done, err := p.decide(l, session.Rotate{Generation: generation, SecretHash: secret, Channel: session.ChannelCookie})
	switch {
	case err != nil:
	case eff.Refusal == "":
		if !eff.Replayed {
			p.n.c.audit.rotation(l.sid, generation)
		}
		if eff.Replayed {
			counts["replays"]++
		}
		p.sign(l, eff)
	case len(eff.Events) > 0: // reuse
		counts["ends by reuse"]++
		l.over = true
		p.acknowledge(l, done)
	default:
		l.over = true
	}
}

func (p *task) logOff(l *login) {
	eff, done, err := p.decide(l, session.EndSession{SecretHash: secret, Channel: session.ChannelCookie, Reason: revocation.ReasonLogoff})
	if err != nil || eff.Refusal != "" {
		return
	}
	if done.seq == 0 { // somebody has ended it
		err := p.ledger.Barrier(p.ctx)
		if !p.turn() || err != nil {
			return
		}
		counts["ends that had been recorded before"]++
	}
	l.over = true
	p.acknowledge(l, done)
}

// acknowledge answers that a session has ended.
func (p *task) acknowledge(l *login, done *request) {
	w := p.n.w
	if done.seq != 0 {
		p.n.c.audit.acknowledge(p.n, done.origin, done.seq)
	}
	var hit []*token
	for _, t := range w.twin.tokens {
		if t.SID == l.sid {
			hit = append(hit, t)
		}
	}
	if _, ok := p.n.c.audit.ended[l.sid]; !ok {
		return // no token of it was alive
	}
	ack(hit, w.now)
	if _, again := p.n.c.audit.endAcked[l.sid]; !again {
		p.n.c.audit.endAcked[l.sid] = w.now
	}
	w.say("%s acknowledges the end of session %.6s", p.n.name, l.sid)
	if !p.deny.Revoked(revocation.Subject{SID: l.sid}) && p.ledger.TimeFloor() < p.n.c.audit.ended[l.sid].ExpiresAt {
		w.fail("P1: %s acknowledges the end of session %.6s, which its own denylist does not have", p.n.name, l.sid)
	}
}

// sign answers with tokens.
func (p *task) sign(l *login, eff session.Effects) {
	w, c := p.n.w, p.n.c
	if clock := p.run.Clock(); !clock.OK {
		return // not ready: 503
	}
	t := &token{store: c.store, keys: c.keys, exp: eff.ExpiresAt, refused: make(map[int]refusal)}
	t.JTI, t.SID, t.Sub = fmt.Sprintf("00000000-0000-4000-8000-%012x", len(w.twin.tokens)), l.sid, l.uid
	t.KID = c.keys.tokens[len(c.keys.tokens)-1]
	if e, ok := c.audit.ended[l.sid]; ok {
		t.revoked = true
		c.audit.covered(t, e)
		t.ackedAt, t.acked = c.audit.endAcked[l.sid]
	}
	w.twin.tokens = append(w.twin.tokens, t)
	l.generation = max(l.generation, eff.Session.Generation)
}

// revokeToken revokes one of the last tokens.
func (p *task) revokeToken() {
	t := p.n.c.recent()
	if t == nil || t.exp <= p.ledger.Now().Unix() {
		return
	}
	now := p.ledger.Now().Unix()
	e := revocation.Event{Kind: revocation.KindJTI, Value: t.JTI, At: now, ExpiresAt: t.exp + margin, Reason: revocation.ReasonRevoked}
	done := p.commit(store.Change{Events: []revocation.Event{e}})
	if done.err == nil {
		p.n.c.audit.acknowledge(p.n, done.origin, done.seq)
		ack([]*token{t}, p.n.w.now)
	}
}

func (p *task) verifyToken() {
	if t := p.n.c.recent(); t != nil {
		_, _ = p.verify(t)
	}
}

// recent returns one of the last tokens.
func (c *cluster) recent() *token {
	all := c.w.twin.tokens
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1-c.w.rng.IntN(min(len(all), 20))]
}
