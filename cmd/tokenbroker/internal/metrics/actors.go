package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// actors has the metrics of the session shards and the committer.
type actors struct {
	batch    *prometheus.HistogramVec
	wait     *prometheus.HistogramVec
	restarts *prometheus.CounterVec
	commits  prometheus.Counter
	changes  prometheus.Histogram
	commit   prometheus.Histogram
	events   *prometheus.CounterVec
}

func newActors(registry *prometheus.Registry) actors {
	sizes := prometheus.ExponentialBuckets(1, 2, 11)
	a := actors{
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_actor_batch_messages", Help: "Messages that an actor was given at once, by kind of actor.", Buckets: sizes,
		}, []string{"actor"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_actor_wait_seconds", Help: "Wait in the mailbox of the oldest message of a batch, by kind of actor.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 4, 10),
		}, []string{"actor"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_actor_restarts_total", Help: "Restarts of an actor after a panic, by kind of actor.",
		}, []string{"actor"}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenbroker_commits_total", Help: "Transactions of the committer, one fsync each.",
		}),
		changes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokenbroker_commit_changes", Help: "Changes merged into one transaction.", Buckets: sizes,
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokenbroker_commit_duration_seconds", Help: "Time of one transaction; it contains the fsync.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_revocation_events_total", Help: "Revocation events on disk, by kind and reason.",
		}, []string{"kind", "reason"}),
	}
	registry.MustRegister(a.batch, a.wait, a.restarts, a.commits, a.changes, a.commit, a.events)
	for _, name := range []string{"shard", "committer"} {
		a.restarts.WithLabelValues(name)
	}
	return a
}

// Batch implements [tokenbroker/broker/actor.Observer].
func (a actors) Batch(name string, size int, oldestWait time.Duration) {
	a.batch.WithLabelValues(name).Observe(float64(size))
	a.wait.WithLabelValues(name).Observe(oldestWait.Seconds())
}

// Restart implements [tokenbroker/broker/actor.Observer].
func (a actors) Restart(name string, _ any) { a.restarts.WithLabelValues(name).Inc() }

// Committed implements [tokenbroker/broker.Observer].
func (a actors) Committed(changes int, events []revocation.Event) {
	a.commits.Inc()
	a.changes.Observe(float64(changes))
	for _, e := range events {
		a.events.WithLabelValues(kinds.label(e.Kind), reasons.label(e.Reason)).Inc()
	}
}

// Store returns s with its commits timed.
func (m *Metrics) Store(s store.Store) store.Store { return timedStore{s, m.commit} }

type timedStore struct {
	store.Store
	took prometheus.Observer
}

func (s timedStore) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	start := time.Now()
	errs := s.Store.Commit(ctx, changes, seal)
	s.took.Observe(time.Since(start).Seconds())
	return errs
}

// Snapshot implements [store.Snapshotter].
func (s timedStore) Snapshot() (view store.Reader, release func(), err error) {
	return store.Snapshot(s.Store)
}

// Provisional implements [store.Provisioner].
func (s timedStore) Provisional() (store.Reader, func(context.Context) error) {
	return store.Provisional(s.Store)
}
