package badgerstore_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

const benchWriters = 64

// BenchmarkCommit compares 64 concurrent writers that commit one transaction each with the same
// writers when one goroutine merges their changes, as the committer does. fsyncs/write counts
// the commits, each of which syncs once.
func BenchmarkCommit(b *testing.B) {
	b.Run("transaction-each", func(b *testing.B) {
		s := open(b, badgerstore.Config{Dir: b.TempDir()})
		var commits atomic.Int64
		benchWrite(b, func(c store.Change) error {
			commits.Add(1)
			return s.Commit(b.Context(), []store.Change{c}, nil)[0]
		})
		b.ReportMetric(float64(commits.Load())/float64(b.N), "fsyncs/write")
	})
	b.Run("merged", func(b *testing.B) {
		s := open(b, badgerstore.Config{Dir: b.TempDir()})
		type request struct {
			change store.Change
			reply  chan error
		}
		queue := make(chan request, benchWriters)
		var commits int64
		var merger sync.WaitGroup
		merger.Go(func() {
			for first := range queue {
				batch := []request{first}
				for len(queue) > 0 {
					batch = append(batch, <-queue)
				}
				changes := make([]store.Change, len(batch))
				for i, r := range batch {
					changes[i] = r.change
				}
				commits++
				for i, err := range s.Commit(b.Context(), changes, nil) {
					batch[i].reply <- err
				}
			}
		})
		benchWrite(b, func(c store.Change) error {
			r := request{c, make(chan error, 1)}
			queue <- r
			return <-r.reply
		})
		close(queue)
		merger.Wait()
		b.ReportMetric(float64(commits)/float64(b.N), "fsyncs/write")
	})
}

// benchWrite divides b.N changes between the writers.
func benchWrite(b *testing.B, commit func(store.Change) error) {
	var next atomic.Int64
	var writers sync.WaitGroup
	b.ResetTimer()
	for range benchWriters {
		writers.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				w := store.Write{Key: fmt.Sprintf("session.%d", n), Value: make([]byte, 128), Blind: true}
				if err := commit(store.Change{Writes: []store.Write{w}}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	b.StopTimer()
}
