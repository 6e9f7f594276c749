package commit

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker/actor"
	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// unreadable panics at each read.
type unreadable struct{ store.Store }

func (unreadable) Get(context.Context, string) (store.Record, error) { panic("while reading") }

type noObserver struct{}

func (noObserver) Committed(int, []revocation.Event) {}

// TestAPanicFailsOnlyItsRun: of a batch with several runs, those that are on disk
// succeed although a later one panics before its commit.
func TestAPanicFailsOnlyItsRun(t *testing.T) {
	disk := memstore.New(nil)
	ended := false
	c := &committer{store: unreadable{disk}, fatal: func(error) { ended = true }, observe: noObserver{}, maxExp: new(atomic.Int64)}
	results := aborted(t, func() {
		c.handle(t.Context(), []commitRequest{
			{changes: []change{{Change: writes("a", maxCommitWrites)}}},
			{changes: []change{{Change: writes("b", 1)}}, signedExp: time.Now().Unix()},
		})
	})
	if err := results[0].Value.errs[0]; err != nil {
		t.Errorf("the run that is on disk: %v", err)
	}
	if results[1].Value.errs[0] == nil {
		t.Error("the run that met the panic was not refused")
	}
	if _, err := disk.Get(t.Context(), "a0"); err != nil {
		t.Error(err)
	}
	if _, err := disk.Get(t.Context(), "b0"); err == nil {
		t.Error("the refused run was written")
	}
	if ended {
		t.Error("Fatal was called")
	}
}

// aborted returns the results with which handle asks for a restart.
func aborted(t *testing.T, handle func()) (results []actor.Result[commitResult]) {
	t.Helper()
	defer func() {
		abort, ok := recover().(actor.Abort[commitResult])
		if !ok || len(abort.Results) != 2 {
			t.Fatalf("no restart with the answers: %v", abort)
		}
		results = abort.Results
	}()
	handle()
	return nil
}

func writes(prefix string, n int) store.Change {
	var c store.Change
	for i := range n {
		c.Writes = append(c.Writes, store.Write{Key: prefix + strconv.Itoa(i)})
	}
	return c
}
