package commit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// scripted is a store that answers the commits by a script. It records the keys of each.
type scripted struct {
	store.Store
	answer  func(try int, keys string) []error
	commits []string
}

func (s *scripted) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	var keys []string
	for _, c := range changes {
		keys = append(keys, c.Writes[0].Key)
	}
	s.commits = append(s.commits, strings.Join(keys, " "))
	if errs := s.answer(len(s.commits), s.commits[len(s.commits)-1]); errs != nil {
		return errs
	}
	return s.Store.Commit(ctx, changes, seal)
}

func plainRequest(keys ...string) commitRequest {
	var r commitRequest
	for _, key := range keys {
		r.changes = append(r.changes, change{Change: store.Change{Writes: []store.Write{{Key: key}}}})
	}
	return r
}

func TestChangesAreCommittedAgainWhenTheStoreAsks(t *testing.T) {
	retry, conflict, big, fenced := store.ErrRetry, store.ErrConflict, store.ErrTooBig, store.ErrFenced
	for name, tt := range map[string]struct {
		answers map[string][]error // of the commits with these keys, otherwise all are written
		commits []string
		results []error
		merged  []int // changes in each
	}{
		"one of them": {
			map[string][]error{"a b c": {nil, retry, nil}},
			[]string{"a b c", "b"}, []error{nil, nil, nil}, []int{2, 1},
		},
		"the rest of a group with a stale change": {
			map[string][]error{"a b c": {retry, conflict, retry}},
			[]string{"a b c", "a c"}, []error{nil, conflict, nil}, []int{1, 2},
		},
		"some that are held up three times": {
			map[string][]error{"a b c": {nil, retry, retry}, "b c": {retry, retry}},
			[]string{"a b c", "b c", "b c", "b", "c"}, []error{nil, nil, nil}, []int{1, 0, 0, 1, 1},
		},
		"with those that did not fit, in order": {
			map[string][]error{"a b c": {nil, retry, big}},
			[]string{"a b c", "b c"}, []error{nil, nil, nil}, []int{1, 2},
		},
		"none under a fence that has moved": {
			map[string][]error{"a b c": {retry, fenced, big}},
			[]string{"a b c"}, []error{fenced, fenced, fenced}, []int{1},
		},
		"one that is asked for without end": {
			map[string][]error{"a b c": {nil, nil, retry}, "c": {retry}},
			[]string{"a b c", "c"}, []error{nil, nil, errConflicts}, []int{2, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := newTestCommitter()
			var merged counts
			c.observe = &merged
			disk := &scripted{Store: memstore.New(nil), answer: func(_ int, keys string) []error {
				errs := tt.answers[keys]
				return append([]error(nil), errs...)
			}}
			c.store = disk
			results := c.handle(t.Context(), []commitRequest{plainRequest("a", "b", "c")})
			for i, err := range results[0].Value.errs {
				if !errors.Is(err, tt.results[i]) {
					t.Errorf("change %d: got %v, want %v", i, err, tt.results[i])
				}
			}
			if diff := cmp.Diff(tt.commits, disk.commits); diff != "" {
				t.Errorf("commits (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(counts(tt.merged), merged); diff != "" {
				t.Errorf("observed changes (-want +got):\n%s", diff)
			}
		})
	}
}

// counts is an observer that records the number of changes in each commit.
type counts []int

func (c *counts) Committed(changes int, _ []revocation.Event) { *c = append(*c, changes) }

// Two changes with events are sealed together and refused, because one is stale. Only what was written is recorded.
func TestRefusedGroupIsNotRecorded(t *testing.T) {
	engine := memstore.NewEngine(nil)
	c, _, ledger := newTestCommitter()
	c.store = engineStore{engine.Open(nil)}
	c.handle(t.Context(), []commitRequest{plainRequest("taken")})
	request := plainRequest("taken", "new")
	for i := range request.changes {
		request.changes[i].Events = []revocation.Event{{Kind: revocation.KindSID, Value: fmt.Sprint(i)}}
	}
	result := c.handle(t.Context(), []commitRequest{request})[0].Value
	if !errors.Is(result.errs[0], store.ErrConflict) || result.errs[1] != nil {
		t.Errorf("got %v", result.errs)
	}
	if len(ledger.events) != 1 || ledger.events[0].Value != "1" || result.seq != 1 {
		t.Errorf("recorded %v, head %d", ledger.events, result.seq)
	}
}

// engineStore is a store on an engine without a fence.
type engineStore struct{ store.Engine }

func (s engineStore) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	_, errs := s.CommitFenced(ctx, store.Fence{}, changes, seal)
	return errs
}

// rejoining is a ledger whose runs can begin as often as results has no error.
type rejoining struct {
	broker.Ledger
	results []error
	calls   int
}

func (l *rejoining) Rejoin(context.Context) error {
	l.calls++
	if len(l.results) == 0 {
		return nil
	}
	err := l.results[0]
	l.results = l.results[1:]
	return err
}

func TestFencedCommitterRejoinsBeforeTheNextCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := newTestCommitter()
		ledger := &rejoining{results: []error{errors.New("no quorum"), errors.New("no quorum")}}
		disk := &scripted{Store: memstore.New(nil), answer: func(try int, _ string) []error {
			if try == 1 {
				return []error{store.ErrFenced, store.ErrFenced, store.ErrFenced}
			}
			return nil
		}}
		c.store, c.ledger = disk, ledger
		ask := func(want error, requests ...commitRequest) {
			t.Helper()
			for _, r := range c.handle(t.Context(), requests) {
				for _, err := range r.Value.errs {
					if !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				}
			}
		}
		many := plainRequest(make([]string, maxCommitWrites)...) // in a commit of its own
		many.signedExp = 1000                                    // and a reservation before it
		ask(store.ErrFenced, plainRequest("a", "b", "c"), many)
		if len(disk.commits) != 1 || ledger.calls != 0 {
			t.Errorf("%d commits and %d runs in the batch that was refused", len(disk.commits), ledger.calls)
		}
		ask(store.ErrFenced, plainRequest("a")) // the first try fails
		ask(store.ErrFenced, plainRequest("a")) // and the next one waits
		if ledger.calls != 1 {
			t.Errorf("%d tries at once", ledger.calls)
		}
		time.Sleep(minRejoinPause)
		ask(store.ErrFenced, plainRequest("a"))
		time.Sleep(minRejoinPause)
		ask(store.ErrFenced, plainRequest("a")) // the pause has doubled
		if ledger.calls != 2 {
			t.Errorf("%d tries after two pauses, want 2", ledger.calls)
		}
		time.Sleep(minRejoinPause)
		ask(nil, plainRequest("a"))
		ask(nil, plainRequest("b"))
		if ledger.calls != 3 || len(disk.commits) != 3 {
			t.Errorf("%d tries, %d commits", ledger.calls, len(disk.commits))
		}
	})
}

func TestRejoinOnRequest(t *testing.T) {
	c, disk, _ := newTestCommitter()
	broken := errors.New("no quorum")
	ledger := &rejoining{results: []error{broken}}
	c.ledger = ledger
	if err := c.handle(t.Context(), []commitRequest{{rejoin: true}})[0].Value.rejoin; !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := c.handle(t.Context(), []commitRequest{plainRequest("a")})[0].Value.errs[0]; !errors.Is(err, store.ErrFenced) {
		t.Errorf("a commit without a run: %v", err)
	}
	if ledger.calls != 1 || disk.commits != 0 {
		t.Errorf("%d tries, %d commits", ledger.calls, disk.commits)
	}
	c.rejoin.next = time.Time{}
	if err := c.handle(t.Context(), []commitRequest{{rejoin: true}})[0].Value.rejoin; err != nil {
		t.Error(err)
	}
}

func TestPausesAfterConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for conflicts := range maxConflicts {
			longest := time.Duration(0)
			for range 100 {
				began := time.Now()
				if err := pause(t.Context(), conflicts); err != nil {
					t.Fatal(err)
				}
				longest = max(longest, time.Since(began))
			}
			if bound := conflictWait * time.Duration(conflicts); longest > bound || (longest > 0) != (conflicts > 1) {
				t.Errorf("%d conflicts: waited up to %s, want up to %s", conflicts, longest, bound)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := pause(ctx, 16); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// overtaking is a store on which another broker draws an epoch before each of the next commits that draw one.
type overtaking struct {
	store.Store
	times   int
	commits []int // the events of each commit
}

func (s *overtaking) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	events := 0
	for _, c := range changes {
		events += len(c.Events)
	}
	s.commits = append(s.commits, events)
	if s.times > 0 && events > 0 {
		s.times--
		floor, rev, err := ReadFloor(ctx, s.Store)
		if err != nil {
			return store.FailRest(make([]error, len(changes)), err)
		}
		write, _ := floor.NextEpoch(time.UnixMilli(0), revocation.KindSub).Write(rev)
		s.Store.Commit(ctx, []store.Change{{Writes: []store.Write{write}}}, nil)
	}
	return s.Store.Commit(ctx, changes, seal)
}

// Another broker's epochs do not refuse terminations. After three conflicts each is committed by itself.
func TestTerminationsOvertakenByAnotherBrokerDrawAgain(t *testing.T) {
	for times, want := range map[int][]int{0: {2}, 1: {2, 2}, 2: {2, 2, 2}, 5: {2, 2, 2, 1, 1, 1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			c, _, _ := newTestCommitter()
			disk := &overtaking{Store: memstore.New(nil), times: times}
			c.store = disk
			a, b := ends("a"), ends("b")
			results := c.handle(t.Context(), []commitRequest{a, b})
			for i, r := range results {
				if r.Value.errs[0] != nil || r.Value.epochs[0] == 0 {
					t.Errorf("overtaken %d times: termination %d: %v, epoch %d", times, i, r.Value.errs[0], r.Value.epochs[0])
				}
			}
			if diff := cmp.Diff(want, disk.commits); diff != "" {
				t.Errorf("overtaken %d times: events of the commits (-want +got):\n%s", times, diff)
			}
		})
	}
}

func TestTerminationOvertakenTooOftenIsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := newTestCommitter()
		c.store = &overtaking{Store: memstore.New(nil), times: 1000}
		err := c.handle(t.Context(), []commitRequest{ends("a")})[0].Value.errs[0]
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("got %v", err)
		}
	})
}

// A cached reservation is good only for decisions that knew the epochs which had been drawn before it.
func TestReservationIsForDecisionsOnItsEpochs(t *testing.T) {
	c, disk, _ := newTestCommitter()
	ask := func(signedExp, lastEpoch int64, want error) {
		t.Helper()
		request := plainRequest(fmt.Sprint(disk.commits))
		request.signedExp, request.lastEpoch = signedExp, lastEpoch
		other := plainRequest(fmt.Sprint("other", disk.commits))
		results := c.handle(t.Context(), []commitRequest{request, other})
		if err := results[0].Value.errs[0]; !errors.Is(err, want) {
			t.Errorf("exp %d on epoch %d: got %v, want %v", signedExp, lastEpoch, err, want)
		}
		if err := results[1].Value.errs[0]; err != nil {
			t.Errorf("another request: %v", err)
		}
	}
	ask(1000, 0, nil)
	c.handle(t.Context(), []commitRequest{ends("a")})
	floor, _, err := ReadFloor(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	ask(1000, 0, nil)                       // reserved before the epoch was drawn
	ask(2000, 0, store.ErrConflict)         // reserved after it
	ask(1000, 0, store.ErrConflict)         // cannot be told from that
	ask(2000, floor.Last, nil)              // decided on the epoch
	ask(2000+expReserve+1, floor.Last, nil) // reserved again
}
