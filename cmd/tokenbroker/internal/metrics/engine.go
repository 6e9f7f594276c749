package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/store"
)

// Engine returns e with its operations timed and its failures counted. It must be called once at most, because it registers
// the metrics, which a broker with a store of its own does not have.
func (m *Metrics) Engine(e store.Engine) store.Engine {
	t := engineTimes{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_engine_operation_duration_seconds", Help: "Time of an operation of the shared store, by operation: get, get_many, list, commit or confirm (the write that confirms reads of PostgreSQL).",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}, []string{"operation"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_engine_errors_total",
			Help: "Failed operations of the shared store, by operation and error: unavailable, uncertain (whether the commit was written is not known), full, canceled or other.",
		}, []string{"operation", "error"}),
		uncertain: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenbroker_cluster_settled_commits_total", Help: "Commits whose outcome was unknown, so that it had to be read from the shared store.",
		}),
	}
	m.registry.MustRegister(t.took, t.failed, t.uncertain)
	timed := timedEngine{timedReader{e, t}, e, t}
	if c, ok := e.(store.Confirmer); ok {
		return timedConfirmer{timed, c}
	}
	return timed
}

type engineTimes struct {
	took      *prometheus.HistogramVec
	failed    *prometheus.CounterVec
	uncertain prometheus.Counter
}

// observe records an operation that began at start.
func (t engineTimes) observe(operation string, start time.Time, errs ...error) {
	t.took.WithLabelValues(operation).Observe(time.Since(start).Seconds())
	failure := ""
	for _, err := range errs {
		if failure = failureOf(err); failure != "" {
			break
		}
	}
	if failure != "" {
		t.failed.WithLabelValues(operation, failure).Inc()
	}
	if failure == uncertain {
		t.uncertain.Inc()
	}
}

const uncertain = "uncertain"

// failureOf returns the label of an error, or "" if the engine has answered.
func failureOf(err error) string {
	if err == nil {
		return ""
	}
	for _, answer := range []error{store.ErrNotFound, store.ErrConflict, store.ErrRetry, store.ErrTooBig, store.ErrFenced} {
		if errors.Is(err, answer) {
			return ""
		}
	}
	switch {
	case errors.Is(err, store.ErrUncertain):
		return uncertain
	case errors.Is(err, store.ErrReadOnly):
		return "full"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	case errors.Is(err, store.ErrUnavailable):
		return "unavailable"
	}
	return "other"
}

type timedEngine struct {
	timedReader
	engine store.Engine
	times  engineTimes
}

var (
	_ store.Engine      = timedEngine{}
	_ store.Snapshotter = timedEngine{}
)

// CommitFenced implements [store.Engine].
func (e timedEngine) CommitFenced(ctx context.Context, fence store.Fence, changes []store.Change, seal store.Seal) (store.Revision, []error) {
	start := time.Now()
	revision, errs := e.engine.CommitFenced(ctx, fence, changes, seal)
	e.times.observe("commit", start, errs...)
	return revision, errs
}

// Follow implements [store.Engine].
func (e timedEngine) Follow(ctx context.Context, prefix string) <-chan struct{} {
	return e.engine.Follow(ctx, prefix)
}

// Snapshot implements [store.Snapshotter].
func (e timedEngine) Snapshot() (view store.Reader, release func(), err error) {
	view, release, err = store.Snapshot(e.engine)
	return timedReader{view, e.times}, release, err
}

// timedConfirmer is a timedEngine whose reads have to be confirmed.
type timedConfirmer struct {
	timedEngine
	confirmer store.Confirmer
}

var _ store.Confirmer = timedConfirmer{}

// Primary implements [store.Confirmer].
func (e timedConfirmer) Primary() uint64 { return e.confirmer.Primary() }

// Confirm implements [store.Confirmer].
func (e timedConfirmer) Confirm(ctx context.Context) error {
	start := time.Now()
	err := e.confirmer.Confirm(ctx)
	e.times.observe("confirm", start, err)
	return err
}

type timedReader struct {
	store.Reader
	times engineTimes
}

// Get implements [store.Reader].
func (r timedReader) Get(ctx context.Context, key string) (store.Record, error) {
	start := time.Now()
	record, err := r.Reader.Get(ctx, key)
	r.times.observe("get", start, err)
	return record, err
}

// GetMany implements [store.Reader].
func (r timedReader) GetMany(ctx context.Context, keys []string) ([]store.Record, error) {
	start := time.Now()
	records, err := r.Reader.GetMany(ctx, keys)
	r.times.observe("get_many", start, err)
	return records, err
}

// List implements [store.Reader].
func (r timedReader) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	start := time.Now()
	records, err := r.Reader.List(ctx, prefix, after, limit)
	r.times.observe("list", start, err)
	return records, err
}
