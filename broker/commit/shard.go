package commit

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// maxChangeEvents is how many events a change may have before another message adds to it.
const maxChangeEvents = 250

// maxChangeWrites is how many writes a change may have, because engines bound them. Only a single message may exceed it, and
// only by ending many sessions of a user who had more than are allowed now.
const maxChangeWrites = 112

// Message is a message for the session SID of the user UID, or for the user.
type Message struct {
	UID, SID string // SID is empty in a change of the user
	// ClientID is the client of the session that an Open makes. For other messages it is the client that the session
	// is expected to have, whose record is then read together with the others. It may be empty or wrong.
	ClientID string
	// Marks are the replay marks that an Open makes: it is refused if one of them is on record.
	Marks   []Mark
	Message session.Message
	By      string // the operator, or empty
}

// Result is a decision and, if it has events, the head of the ledger that holds them.
type Result struct {
	Effects session.Effects
	Seq     uint64
	Epoch   int64 // of its termination, or zero
}

// shard orders and decides the messages of the users it owns. It has no state between batches.
type shard struct {
	reader   store.Reader
	commit   func(context.Context, commitRequest) (commitResult, error)
	clock    broker.Clock
	policy   func() session.Policy
	denylist broker.Denylist
}

// group is the messages of one user in a batch, which become one change.
type group struct {
	uid     string
	indexes []int
	tries   int // how many met a conflict
}

// decision is the change that a group's first messages make.
type decision struct {
	change   change
	exp      int64 // the latest of the tokens to sign
	messages int   // how many were decided
}

func (s *shard) handle(ctx context.Context, batch []Message) []actor.Result[Result] {
	results := make([]actor.Result[Result], len(batch))
	for open := groupByUser(batch); len(open) > 0; {
		open = s.round(ctx, batch, open, results)
		conflicts := 0
		for _, g := range open {
			conflicts = max(conflicts, g.tries)
		}
		if err := pause(ctx, conflicts); err != nil {
			for _, g := range open {
				failGroup(g, results, err)
			}
			break
		}
	}
	return results
}

// round decides the open groups on the current contents of the store and commits them together. It
// returns the groups that met a conflict, and the messages that wait for an epoch.
func (s *shard) round(ctx context.Context, batch []Message, open []group, results []actor.Result[Result]) (left []group) {
	reader, confirm := store.Provisional(s.reader)
	request, writing, decided := s.decideAll(ctx, reader, batch, open, results)
	defer func() { s.confirm(ctx, confirm, open, left, results) }()
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

// confirm confirms the reads of a round before its results are answered: refusals and repeated answers, which write nothing,
// and those of changes, because a change compares only the records that it writes. It costs nothing after a commit. If the
// reads cannot be confirmed, all results are failures; a change that was written has the same effect when it is repeated. The
// messages in left are decided again.
func (s *shard) confirm(ctx context.Context, confirm func(context.Context) error, open, left []group, results []actor.Result[Result]) {
	again := map[int]bool{}
	for _, g := range left {
		for _, i := range g.indexes {
			again[i] = true
		}
	}
	var answers []int
	for _, g := range open {
		for _, i := range g.indexes {
			if results[i].Err == nil && !again[i] {
				answers = append(answers, i)
			}
		}
	}
	if len(answers) == 0 {
		return
	}
	if err := confirm(ctx); err != nil {
		for _, i := range answers {
			results[i] = actor.Result[Result]{Err: err}
		}
	}
}

// decideAll decides the open groups on one view of the store. It reads together the records that their messages are
// known to need. It returns the changes to commit, the groups that they belong to, and how many of each group's
// messages were decided.
func (s *shard) decideAll(ctx context.Context, reader store.Reader, batch []Message, open []group, results []actor.Result[Result]) (request commitRequest, writing []group, decided []int) {
	failAll := func(err error) (commitRequest, []group, []int) {
		for _, g := range open {
			failGroup(g, results, err)
		}
		return commitRequest{}, nil, nil
	}
	snapshot, release, err := store.Snapshot(reader)
	if err != nil {
		return failAll(err)
	}
	defer release()
	shared := newView(snapshot, s.denylist)
	shared.timeFloor = s.clock.RecordedTimeFloor()
	if err := prefetch(ctx, shared, batch, open); err != nil {
		return failAll(err)
	}
	defer func() { request.lastEpoch = shared.floor.Last }()
	views := make([]*UserView, len(open))
	for i, g := range open {
		views[i] = shared.user(g.uid)
	}
	if err := prefetchBrowsers(ctx, shared, batch, open, views); err != nil {
		return failAll(err)
	}
	for i, g := range open {
		d, err := s.decide(ctx, views[i], batch, g, results)
		if err != nil {
			failGroup(g, results, err)
			continue
		}
		if len(d.change.Writes) > 0 || len(d.change.Events) > 0 || d.change.termination != nil {
			request.changes = append(request.changes, d.change)
			request.signedExp = max(request.signedExp, d.exp)
			writing = append(writing, g)
			decided = append(decided, d.messages)
		}
	}
	return request, writing, decided
}

// prefetch reads the records that the messages are known to need. Its error is one of the store, which all messages would
// meet; one of a single record is met by the messages of that record when they read it by themselves.
func prefetch(ctx context.Context, shared *view, batch []Message, open []group) error {
	keys := []string{floorKey}
	for _, g := range open {
		for _, i := range g.indexes {
			keys = batch[i].addReads(keys)
		}
	}
	return shared.prefetch(ctx, keys)
}

// prefetchBrowsers reads the browser sessions of the dependent grants among the sessions of the messages. Its error is one of the
// store.
func prefetchBrowsers(ctx context.Context, shared *view, batch []Message, open []group, views []*UserView) error {
	var keys []string
	for at, g := range open {
		for _, i := range g.indexes {
			if batch[i].SID == "" {
				continue
			}
			slot, err := views[at].slot(ctx, batch[i].SID)
			if err == nil && slot.session != nil && slot.session.Dependent() {
				keys = append(keys, SessionKey(g.uid, slot.session.BrowserSID))
			}
		}
	}
	return shared.prefetch(ctx, keys)
}

func (v *view) prefetch(ctx context.Context, keys []string) error {
	err := v.reader.fetch(ctx, keys...)
	var refusal *broker.Error // of a store that several brokers share
	if err != nil && (errors.As(err, &refusal) || refusesAll(err) || ctx.Err() != nil) {
		return fmt.Errorf("reading the records of the messages: %w", err)
	}
	return nil
}

// decide steps the group's messages in order, each on the results of the earlier ones. It stops after a message
// that terminates the user's tokens, because the state for the next ones is known only when its epoch is drawn, and
// when the change has many writes or events, so that it fits into a commit.
func (s *shard) decide(ctx context.Context, records *UserView, batch []Message, g group, results []actor.Result[Result]) (decision, error) {
	now, policy := s.clock.Now(), s.policy()
	var d decision
	for _, i := range g.indexes {
		msg := batch[i]
		state, err := records.state(ctx, msg.SID, msg.ClientID)
		if err != nil {
			return decision{}, err
		}
		if state.Used, err = records.used(ctx, msg.Marks); err != nil {
			return decision{}, err
		}
		if open, opens := msg.Message.(session.Open); opens {
			if open.BrowserSID != "" {
				if state.Browser, err = records.browser(ctx, state, open.BrowserSID); err != nil {
					return decision{}, err
				}
			}
			if err := records.addSessionList(ctx, &state, policy.MaxSessions); err != nil {
				return decision{}, err
			}
		}
		eff := session.Step(now, policy, state, msg.Message)
		if n := records.writing + len(records.marks); n > 0 && n+len(msg.Marks)+maxWrites(eff) > maxChangeWrites {
			break
		}
		if err := records.apply(eff, policy); err != nil {
			return decision{}, err
		}
		if err := records.endGrants(ctx, now, policy, &eff); err != nil {
			return decision{}, err
		}
		if eff.Refusal == "" {
			records.marks = append(records.marks, msg.Marks...)
		}
		for _, e := range eff.Events {
			e.By = msg.By
			d.change.Events = append(d.change.Events, e)
		}
		d.exp = max(d.exp, eff.ExpiresAt)
		d.messages++
		results[i] = actor.Result[Result]{Value: Result{Effects: eff}}
		if eff.EndTokens != "" {
			d.change.termination = records.termination(eff.EndTokens, msg.By)
			break
		}
		if len(d.change.Events) >= maxChangeEvents {
			break
		}
	}
	var err error
	d.change.Writes, err = records.writes(ctx)
	return d, err
}

// maxWrites bounds the writes of a decision: the user, the list of sessions, the session with its sid, the browser session, and
// those that end.
func maxWrites(eff session.Effects) int { return 5 + len(eff.Ended) + len(eff.EndGrants) }

// acknowledge completes the results of messages whose decisions are on disk.
func acknowledge(indexes []int, results []actor.Result[Result], seq uint64, epoch int64) {
	for _, i := range indexes {
		r := &results[i].Value
		if r.Effects.EndTokens != "" {
			r.Seq, r.Epoch = seq, epoch
		} else if len(r.Effects.Events) > 0 {
			r.Seq = seq
		}
	}
}

func groupByUser(batch []Message) []group {
	at := make(map[string]int, len(batch))
	var groups []group
	for i, msg := range batch {
		j, seen := at[msg.UID]
		if !seen {
			j = len(groups)
			at[msg.UID] = j
			groups = append(groups, group{uid: msg.UID})
		}
		groups[j].indexes = append(groups[j].indexes, i)
	}
	return groups
}

func failGroup(g group, results []actor.Result[Result], err error) {
	for _, i := range g.indexes {
		results[i] = actor.Result[Result]{Err: err}
	}
}
