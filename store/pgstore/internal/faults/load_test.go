package faults_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

const (
	// brokers is the number of runs on a store, and writers that of the clients of each.
	brokers, writers = 3, 3
	// records is the number of records that all clients change.
	records = 8
	// patience bounds each wait. It is long enough for a busy machine.
	patience = 2 * time.Minute
	// readTimeout is how long a client waits for a read. tickTimeout is that of a tick.
	readTimeout, tickTimeout = 5 * time.Second, time.Second
)

// load is the runs of several brokers and their clients, with the history of what they saw.
type load struct {
	*history
	t    *testing.T
	runs []*origins.Run
	// ctx is that of all operations. It ends when the load has stopped.
	ctx      context.Context
	stopping atomic.Bool
	wg       sync.WaitGroup
	serial   atomic.Uint64
}

// startLoad joins one run for each engine and starts its clients.
func startLoad(t *testing.T, engines []store.Engine) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{history: newHistory(), t: t, ctx: ctx}
	for i, engine := range engines {
		run, err := origins.Join(ctx, origins.Config{
			Engine: engine, Name: fmt.Sprint("b", i), KEK: "k", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		l.runs = append(l.runs, run)
	}
	for _, run := range l.runs {
		l.wg.Go(func() { l.tick(run) })
		l.wg.Go(func() { l.view(run) })
		for range writers {
			l.wg.Go(func() { l.write(run) })
		}
	}
	t.Cleanup(func() { l.stopping.Store(true); cancel(); l.wg.Wait() })
	return l
}

// pause is a client's.
func pause() { time.Sleep(time.Duration(1+rand.IntN(8)) * time.Millisecond) }

// fatal reports whether no run may have this error.
func fatal(err error) bool {
	return errors.Is(err, origins.ErrRewound) || errors.Is(err, origins.ErrNameTaken) || errors.Is(err, store.ErrClosed)
}

// tick does what the owner of a run does.
func (l *load) tick(run *origins.Run) {
	for !l.stopping.Load() {
		ctx, cancel := context.WithTimeout(l.ctx, tickTimeout)
		err := run.Tick(ctx)
		cancel()
		if errors.Is(err, store.ErrFenced) {
			err = run.Rejoin(l.ctx)
		}
		if fatal(err) {
			l.t.Errorf("a tick: %v", err)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// view checks that a view has all that was acknowledged before it began.
func (l *load) view(run *origins.Run) {
	for !l.stopping.Load() {
		acknowledged := l.acknowledgedHeads()
		ctx, cancel := context.WithTimeout(l.ctx, readTimeout)
		v, err := run.View(ctx)
		cancel()
		if err == nil {
			heads := v.Heads()
			for origin, head := range acknowledged {
				if heads[origin] < head {
					l.t.Errorf("a view has head %d of an origin, and %d was acknowledged before", heads[origin], head)
				}
			}
		} else if fatal(err) {
			l.t.Errorf("a view: %v", err)
			return
		}
		pause()
	}
}

// read reads a record.
func (l *load) read(from store.Reader, key string) (store.Record, error) {
	ctx, cancel := context.WithTimeout(l.ctx, readTimeout)
	defer cancel()
	call := l.now()
	record, err := from.Get(ctx, key)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		l.add(operation{key: key, value: string(record.Value)}, written, call, l.now())
		return record, nil
	}
	if fatal(err) {
		l.t.Errorf("a read: %v", err)
	}
	return record, err
}

// write reads records and replaces some of them, with events or without.
func (l *load) write(run *origins.Run) {
	for !l.stopping.Load() && !l.t.Failed() {
		pause()
		var changes []store.Change
		var operations []operation
		for _, n := range rand.Perm(records)[:1+rand.IntN(3)] {
			key := fmt.Sprint("session.", n)
			record, err := l.read(run, key)
			if err != nil {
				continue
			}
			o := operation{key: key, write: true, old: string(record.Value), value: fmt.Sprint("v", l.serial.Add(1))}
			change := store.Change{Writes: []store.Write{{Key: key, Value: []byte(o.value), Expect: record.Revision}}}
			if rand.IntN(3) == 0 {
				change.Events = []revocation.Event{{Kind: revocation.KindSID, Value: o.value, At: 1, ExpiresAt: 1 << 40}}
			}
			changes, operations = append(changes, change), append(operations, o)
		}
		if len(changes) > 0 {
			l.commit(run, changes, operations)
		}
	}
}

// batchKey is the key of a batch of events.
func batchKey(origin string, seq uint64) string {
	return fmt.Sprintf("ledger.batch.%s.%016d", origin, seq)
}

// commit commits changes, one for each operation, and adds the results to the history.
func (l *load) commit(run *origins.Run, changes []store.Change, operations []operation) {
	var origin string
	var seq uint64
	seal := func(accepted []revocation.Event) ([]store.Write, error) {
		origin, seq = run.Origin(), run.Head()+1
		var values []string
		for _, event := range accepted {
			values = append(values, event.Value)
		}
		return []store.Write{{Key: batchKey(origin, seq), Value: []byte(strings.Join(values, " "))}}, nil
	}
	call := l.now()
	errs := run.Commit(l.ctx, changes, seal)
	end := l.now()
	for i, err := range errs {
		switch {
		case err == nil:
			l.add(operations[i], written, call, end)
			if len(changes[i].Events) > 0 {
				l.recorded(origin, seq, []string{operations[i].value})
			}
		case errors.Is(err, store.ErrConflict): // it may have happened if the commit was settled
			l.add(operations[i], unknown, call, end)
		case errors.Is(err, store.ErrUncertain), errors.Is(err, origins.ErrRemoved):
			l.add(operations[i], unknown, call, forever)
		case fatal(err):
			l.t.Errorf("a commit: %v", err)
		}
		// Any other error says that the change was not written.
	}
}

// more waits until clients have many more commits.
func (l *load) more(t *testing.T, when string) {
	t.Helper()
	goal := l.acknowledged() + longtest.Pick(150, 1500)
	eventually(t, "acknowledged commits "+when, func() bool { return l.acknowledged() >= goal || t.Failed() })
}

// finish ends the load and checks what it saw against the store as it is now.
func (l *load) finish(t *testing.T, now store.Reader) {
	t.Helper()
	l.stopping.Store(true)
	l.wg.Wait()
	for n := range records {
		if _, err := l.read(now, fmt.Sprint("session.", n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, operations := range l.wrong() {
		t.Error("no order explains what the clients saw of a record:")
		for _, o := range operations {
			t.Log(describe(o))
		}
	}
	all, err := origins.List(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, o := range all {
		for seq := uint64(1); seq <= o.Head+1; seq++ {
			batch, err := now.Get(t.Context(), batchKey(o.ID, seq))
			if missing := errors.Is(err, store.ErrNotFound); missing != (seq > o.Head) || err != nil && !missing {
				t.Errorf("batch %d of %d: %v", seq, o.Head, err)
			}
			for value := range strings.FieldsSeq(string(batch.Value)) {
				found[value]++
			}
		}
	}
	for value := range l.events {
		if found[value] != 1 {
			t.Errorf("an acknowledged event is recorded %d times", found[value])
		}
	}
	if len(l.writes) == 0 || l.reads == 0 || len(l.events) == 0 {
		t.Error("the load did nothing")
	}
	var s origins.Stats
	for _, run := range l.runs {
		stats := run.Stats()
		s.Written, s.NotWritten, s.Unknown, s.Rejoins = s.Written+stats.Written, s.NotWritten+stats.NotWritten, s.Unknown+stats.Unknown, s.Rejoins+stats.Rejoins
	}
	t.Logf("%d commits of records and %d reads acknowledged, %d events, %d unknown; commits settled: %d written, %d not, %d removed; %d rejoins",
		len(l.writes), l.reads, len(l.events), l.uncertain, s.Written, s.NotWritten, s.Unknown, s.Rejoins)
}

// eventually polls until ok, and fails the test when patience is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}
