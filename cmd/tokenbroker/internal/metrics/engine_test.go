package metrics_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// TestOperationsOfAnEngineAreCounted counts failures, and not what an engine answers.
func TestOperationsOfAnEngineAreCounted(t *testing.T) {
	fault := memstore.OK
	m := metrics.New()
	engine := m.Engine(memstore.NewEngine(nil).Open(func(memstore.Op) memstore.Fault { return fault }))
	ctx := t.Context()
	commit := func() {
		_, _ = engine.CommitFenced(ctx, store.Fence{Key: "fence", Value: []byte("1"), Sealed: []byte("1")}, []store.Change{{Writes: []store.Write{{Key: "k", Value: []byte("1")}}}}, nil)
	}
	read := func() {
		_, _ = engine.Get(ctx, "none")
		view, release, err := store.Snapshot(engine)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		_, _ = view.GetMany(ctx, []string{"k"})
		_, _ = view.List(ctx, "", "", 1)
	}
	commit()
	commit() // the fence has moved
	read()
	fault = memstore.Refuse
	read()
	fault = memstore.Keep
	commit()
	if problems, err := testutil.GatherAndLint(m.Gatherer()); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	const want = `# HELP tokenbroker_cluster_settled_commits_total Commits whose outcome was unknown, so that it had to be read from the shared store.
# TYPE tokenbroker_cluster_settled_commits_total counter
tokenbroker_cluster_settled_commits_total 1
# HELP tokenbroker_engine_errors_total Failed operations of the shared store, by operation and error: unavailable, uncertain (whether the commit was written is not known), full, canceled or other.
# TYPE tokenbroker_engine_errors_total counter
tokenbroker_engine_errors_total{error="unavailable",operation="get"} 1
tokenbroker_engine_errors_total{error="unavailable",operation="get_many"} 1
tokenbroker_engine_errors_total{error="unavailable",operation="list"} 1
tokenbroker_engine_errors_total{error="uncertain",operation="commit"} 1
`
	if err := testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(want), "tokenbroker_cluster_settled_commits_total", "tokenbroker_engine_errors_total"); err != nil {
		t.Error(err)
	}
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	timed := map[string]uint64{}
	for _, f := range families {
		if f.GetName() == "tokenbroker_engine_operation_duration_seconds" {
			for _, series := range f.GetMetric() {
				timed[series.GetLabel()[0].GetValue()] = series.GetHistogram().GetSampleCount()
			}
		}
	}
	if _, ok := engine.(store.Confirmer); ok {
		t.Error("an engine whose reads need no confirmation has to be confirmed")
	}
	for operation, n := range map[string]uint64{"get": 2, "get_many": 2, "list": 2, "commit": 3} {
		if timed[operation] != n {
			t.Errorf("%s was timed %d times, want %d", operation, timed[operation], n)
		}
	}
}

// confirmer is an engine with a primary.
type confirmer struct {
	store.Engine
	err error
}

func (c *confirmer) Primary() uint64 { return 7 }

func (c *confirmer) Confirm(context.Context) error { return c.err }

// TestConfirmationsAreCountedAndPassedOn guards against an engine whose reads are not confirmed, because its wrapper hides that they have
// to be.
func TestConfirmationsAreCountedAndPassedOn(t *testing.T) {
	m := metrics.New()
	c := &confirmer{Engine: memstore.NewEngine(nil).Open(nil)}
	timed, ok := m.Engine(c).(store.Confirmer)
	if !ok || timed.Primary() != 7 {
		t.Fatal("the engine no longer has to be confirmed")
	}
	if err := timed.Confirm(t.Context()); err != nil {
		t.Error(err)
	}
	c.err = store.ErrUnavailable
	if err := timed.Confirm(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	const want = `# HELP tokenbroker_engine_errors_total Failed operations of the shared store, by operation and error: unavailable, uncertain (whether the commit was written is not known), full, canceled or other.
# TYPE tokenbroker_engine_errors_total counter
tokenbroker_engine_errors_total{error="unavailable",operation="confirm"} 1
`
	if err := testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(want), "tokenbroker_engine_errors_total"); err != nil {
		t.Error(err)
	}
}
