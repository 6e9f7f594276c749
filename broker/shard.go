package broker

import (
	"context"
	"errors"

	"tokenbroker/broker/actor"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// maxConflicts is how often a change is decided anew after a revision conflict.
const maxConflicts = 16

// maxChangeEvents is how many events a change may have before another message adds to it.
const maxChangeEvents = 250

// errConflicts is a change that met a conflict maxConflicts times.
var errConflicts = errors.New("broker: too many revision conflicts")

// shardMessage is one message for the session sid of the user uid, or for the user alone.
type shardMessage struct {
	uid, sid string // sid is empty in a change of the user
	// clientID is the client whose epoch an Open is made under.
	clientID string
	// once is what an Open uses up, so that it happens once.
	once    []onceKey
	message session.Message
	by      string // the operator, or empty
}

// shardResult is what was decided and, with events, the head of the ledger that holds them.
type shardResult struct {
	effects session.Effects
	seq     uint64
	epoch   int64 // that was drawn for it, or zero
}

// shard orders and decides for the users it owns. It keeps nothing between batches.
type shard struct {
	reader   store.Reader
	commit   func(context.Context, commitRequest) (commitResult, error)
	clock    Clock
	policy   func() session.Policy
	denylist Denylist
}

// group is the messages of one user in a batch: they become one change.
type group struct {
	uid     string
	indexes []int
	tries   int // that met a conflict
}

// decision is what became of a group's first messages: one change.
type decision struct {
	change   change
	exp      int64 // the latest of the tokens to sign
	messages int   // so many were decided
}

func (s *shard) handle(ctx context.Context, batch []shardMessage) []actor.Result[shardResult] {
	results := make([]actor.Result[shardResult], len(batch))
	for open := groupByUser(batch); len(open) > 0; {
		open = s.round(ctx, batch, open, results)
	}
	return results
}

// round decides the open groups on what the store holds now and commits them together. It
// returns what is left: groups that met a conflict, and messages that wait for an epoch.
func (s *shard) round(ctx context.Context, batch []shardMessage, open []group, results []actor.Result[shardResult]) (left []group) {
	request, writing, decided := s.decideAll(ctx, batch, open, results)
	if len(writing) == 0 {
		return nil
	}
	committed, err := s.commit(ctx, request)
	for i, g := range writing {
		refused := err
		if err == nil {
			refused = committed.errs[i]
		}
		switch {
		case errors.Is(refused, store.ErrConflict):
			if g.tries++; g.tries < maxConflicts {
				left = append(left, g)
			} else {
				failGroup(g, results, errConflicts)
			}
		case refused != nil:
			failGroup(g, results, refused)
		default:
			acknowledge(g.indexes[:decided[i]], results, committed.seq, committed.epochs[i])
			if rest := g.indexes[decided[i]:]; len(rest) > 0 {
				left = append(left, group{uid: g.uid, indexes: rest})
			}
		}
	}
	return left
}

// decideAll decides the open groups on one view of the store. It returns the changes to
// commit, the groups that they are of, and how many of each group's messages were decided.
func (s *shard) decideAll(ctx context.Context, batch []shardMessage, open []group, results []actor.Result[shardResult]) (request commitRequest, writing []group, decided []int) {
	snapshot, release, err := store.Snapshot(s.reader)
	if err != nil {
		for _, g := range open {
			failGroup(g, results, err)
		}
		return commitRequest{}, nil, nil
	}
	defer release()
	shared := newSharedView(snapshot)
	shared.timeFloor = s.clock.RecordedTimeFloor()
	for _, g := range open {
		d, err := s.decide(ctx, shared, batch, g, results)
		if err != nil {
			failGroup(g, results, err)
			continue
		}
		if len(d.change.Writes) > 0 || len(d.change.Events) > 0 || d.change.ends != nil {
			request.changes = append(request.changes, d.change)
			request.signedExp = max(request.signedExp, d.exp)
			writing = append(writing, g)
			decided = append(decided, d.messages)
		}
	}
	return request, writing, decided
}

// acknowledge completes the results of messages that are on disk.
func acknowledge(indexes []int, results []actor.Result[shardResult], seq uint64, epoch int64) {
	for _, i := range indexes {
		r := &results[i].Value
		if r.effects.EndTokens != "" {
			r.seq, r.epoch = seq, epoch
		} else if len(r.effects.Events) > 0 {
			r.seq = seq
		}
	}
}

// decide steps the group's messages in order, each on the results of the earlier ones. One
// that ends the user's tokens is the last: what the others see is known once its epoch is drawn.
// So is one whose change has many events, so that the change fits a commit.
func (s *shard) decide(ctx context.Context, shared *sharedView, batch []shardMessage, g group, results []actor.Result[shardResult]) (decision, error) {
	view := shared.user(g.uid)
	now, policy := s.clock.Now(), s.policy()
	var d decision
	for _, i := range g.indexes {
		msg := batch[i]
		state, err := view.state(ctx, msg.sid, msg.clientID)
		if err != nil {
			return decision{}, err
		}
		if sess := state.Session; sess != nil {
			state.Denylisted = s.denylist.Revoked(revocationSubject(sess))
		}
		if state.Used, err = view.used(ctx, msg.once); err != nil {
			return decision{}, err
		}
		if _, opens := msg.message.(session.Open); opens {
			if err := view.listed(ctx, &state, policy.MaxSessions, s.denylist); err != nil {
				return decision{}, err
			}
		}
		eff := session.Step(now, policy, state, msg.message)
		if err := view.apply(eff, policy); err != nil {
			return decision{}, err
		}
		if eff.Refusal == "" {
			view.once = append(view.once, msg.once...)
		}
		for _, e := range eff.Events {
			e.By = msg.by
			d.change.Events = append(d.change.Events, e)
		}
		d.exp = max(d.exp, eff.ExpiresAt)
		d.messages++
		results[i] = actor.Result[shardResult]{Value: shardResult{effects: eff}}
		if eff.EndTokens != "" {
			d.change.ends = view.ending(eff.EndTokens, msg.by)
			break
		}
		if len(d.change.Events) >= maxChangeEvents {
			break
		}
	}
	var err error
	d.change.Writes, err = view.writes(ctx)
	return d, err
}

func groupByUser(batch []shardMessage) []group {
	at := make(map[string]int, len(batch))
	var groups []group
	for i, msg := range batch {
		j, seen := at[msg.uid]
		if !seen {
			j = len(groups)
			at[msg.uid] = j
			groups = append(groups, group{uid: msg.uid})
		}
		groups[j].indexes = append(groups[j].indexes, i)
	}
	return groups
}

func failGroup(g group, results []actor.Result[shardResult], err error) {
	for _, i := range g.indexes {
		results[i] = actor.Result[shardResult]{Err: err}
	}
}

// tombstoneEnd is when the store may forget a session.
func tombstoneEnd(s *session.Session, p session.Policy) int64 {
	return s.AbsoluteEnd(p).Add(session.TombstoneLife).Unix()
}
