package broker

import (
	"context"
	"errors"

	"tokenbroker/broker/actor"
	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
	"tokenbroker/revocation"
)

// maxConflicts is how often a change is decided anew after a revision conflict.
const maxConflicts = 16

// errConflicts is a change that met a conflict maxConflicts times.
var errConflicts = errors.New("broker: too many revision conflicts")

// shardMessage is one message for the session sid of the user uid.
type shardMessage struct {
	uid, sid string
	// clientID is the client whose epoch an Open is made under.
	clientID string
	// once is what an Open is exchanged for, so that it happens once; zero: nothing.
	once    onceKey
	message session.Message
}

// shardResult is what was decided and, with events, the head of the ledger that holds them.
type shardResult struct {
	effects session.Effects
	seq     uint64
}

// shard orders and decides for the users it owns. It keeps nothing between batches.
type shard struct {
	reader   store.Reader
	commit   func(context.Context, commitRequest) (commitResult, error)
	clock    Clock
	policy   session.Policy
	denylist Denylist
}

// group is the messages of one user in a batch: they become one change.
type group struct {
	uid     string
	indexes []int
}

func (s *shard) handle(ctx context.Context, batch []shardMessage) []actor.Result[shardResult] {
	results := make([]actor.Result[shardResult], len(batch))
	open := groupByUser(batch)
	for range maxConflicts {
		if open = s.round(ctx, batch, open, results); len(open) == 0 {
			return results
		}
	}
	for _, g := range open {
		failGroup(g, results, errConflicts)
	}
	return results
}

// round decides the open groups on what the store holds now, commits them together and
// returns those that met a conflict.
func (s *shard) round(ctx context.Context, batch []shardMessage, open []group, results []actor.Result[shardResult]) []group {
	var (
		request  commitRequest
		writing  []group
		conflict []group
	)
	for _, g := range open {
		change, exp, err := s.decide(ctx, batch, g, results)
		if err != nil {
			failGroup(g, results, err)
			continue
		}
		if len(change.Writes) > 0 || len(change.Events) > 0 {
			request.changes = append(request.changes, change)
			request.signedExp = max(request.signedExp, exp)
			writing = append(writing, g)
		}
	}
	if len(writing) == 0 {
		return nil
	}
	committed, err := s.commit(ctx, request)
	for i, g := range writing {
		switch {
		case err != nil:
			failGroup(g, results, err)
		case errors.Is(committed.errs[i], store.ErrConflict):
			conflict = append(conflict, g)
		case committed.errs[i] != nil:
			failGroup(g, results, committed.errs[i])
		default:
			for _, j := range g.indexes {
				if results[j].Err == nil && len(results[j].Value.effects.Events) > 0 {
					results[j].Value.seq = committed.seq
				}
			}
		}
	}
	return conflict
}

// decide steps the group's messages in order, each on the results of the earlier ones.
func (s *shard) decide(ctx context.Context, batch []shardMessage, g group, results []actor.Result[shardResult]) (store.Change, int64, error) {
	view := newUserView(s.reader, g.uid)
	now := s.clock.Now()
	var (
		events []revocation.Event
		exp    int64
	)
	for _, i := range g.indexes {
		msg := batch[i]
		state, err := view.state(ctx, msg.sid, msg.clientID)
		if err != nil {
			return store.Change{}, 0, err
		}
		if sess := state.Session; sess != nil {
			state.Denylisted = s.denylist.Revoked(revocationSubject(sess))
		}
		if state.Used, err = view.used(ctx, msg.once); err != nil {
			return store.Change{}, 0, err
		}
		eff := session.Step(now, s.policy, state, msg.message)
		if err := view.apply(eff, s.policy); err != nil {
			return store.Change{}, 0, err
		}
		if eff.Refusal == "" {
			view.use(msg.once)
		}
		events = append(events, eff.Events...)
		exp = max(exp, eff.ExpiresAt)
		results[i] = actor.Result[shardResult]{Value: shardResult{effects: eff}}
	}
	writes, err := view.writes()
	if err != nil {
		return store.Change{}, 0, err
	}
	return store.Change{Writes: writes, Events: events}, exp, nil
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
