package actor_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"tokenbroker/broker/actor"
)

// The actor owns the counter, so callers need no lock.
func Example() {
	counter := actor.Start(actor.Config[int, int]{
		Name: "counter",
		New: func() actor.Handler[int, int] {
			total := 0 // the state, new after each restart
			return func(_ context.Context, batch []int) []actor.Result[int] {
				results := make([]actor.Result[int], 0, len(batch))
				for _, n := range batch {
					total += n
					results = append(results, actor.Result[int]{Value: total})
				}
				// Here one commit would make the whole batch durable, before anyone is answered.
				return results
			}
		},
	})

	ctx := context.Background()
	var callers sync.WaitGroup
	for n := 1; n <= 10; n++ {
		callers.Go(func() {
			if _, err := counter.Ask(ctx, n); err != nil {
				fmt.Println("asking the counter:", err)
			}
		})
	}
	callers.Wait()
	total, err := counter.Ask(ctx, 0)
	fmt.Println(total, err)

	fmt.Println(counter.Stop(ctx))
	_, err = counter.Ask(ctx, 1)
	fmt.Println(err)
	// Output:
	// 55 <nil>
	// <nil>
	// actor is stopped
}

func BenchmarkAsk(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			a := actor.Start(actor.Config[int, int]{New: sum})
			b.SetParallelism(callers)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := a.Ask(context.Background(), 1); err != nil {
						b.Error(err)
						return
					}
				}
			})
			s := a.Stats()
			b.ReportMetric(float64(s.Messages)/float64(s.Batches), "msgs/batch")
			if err := a.Stop(context.Background()); err != nil {
				b.Error(err)
			}
		})
	}
}
