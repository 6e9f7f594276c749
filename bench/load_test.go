package bench

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// turns is how often a bench and its peers take turns, so that a busy neighbour slows
// all of them.
const turns = 8

// outcome is what a load of some operations did.
type outcome struct {
	took      time.Duration
	latencies []time.Duration
}

func (o *outcome) add(more outcome) {
	o.took += more.took
	o.latencies = append(o.latencies, more.latencies...)
}

// rate is operations a second.
func (o *outcome) rate() float64 { return float64(len(o.latencies)) / o.took.Seconds() }

// quantile returns a latency in ms.
func (o *outcome) quantile(q float64) float64 {
	if len(o.latencies) == 0 {
		return 0
	}
	slices.Sort(o.latencies)
	return float64(o.latencies[int(float64(len(o.latencies)-1)*q)].Microseconds()) / 1000
}

// fromAll does work n times, shared among so many clients at once, and joins the first
// error of each.
func fromAll(atOnce, n int, work func(client int) error) (outcome, error) {
	var (
		next      atomic.Int64
		group     sync.WaitGroup
		latencies = make([][]time.Duration, atOnce)
		errs      = make([]error, atOnce)
	)
	began := time.Now()
	for client := range atOnce {
		group.Go(func() {
			for next.Add(1) <= int64(n) {
				began := time.Now()
				if errs[client] = work(client); errs[client] != nil {
					return
				}
				latencies[client] = append(latencies[client], time.Since(began))
			}
		})
	}
	group.Wait()
	return outcome{took: time.Since(began), latencies: slices.Concat(latencies...)}, errors.Join(errs...)
}

// peer is other work that a bench is compared with.
type peer struct {
	// name makes the metric x-name: the bench's rate divided by the peer's.
	name string
	work func(client int) error
	// share is how many operations of the bench stand against one of the peer: about how
	// much slower the peer is, so that neither waits long for the other.
	share int
}

// measure does work b.N times from so many clients at once and reports its rate and
// latency. The peers take turns with it, outside the measured time.
func measure(b *testing.B, atOnce int, work func(client int) error, peers ...peer) {
	b.Helper()
	var own outcome
	others := make([]outcome, len(peers))
	b.ResetTimer()
	b.StopTimer()
	for turn := range turns {
		n := b.N*(turn+1)/turns - b.N*turn/turns
		b.StartTimer()
		got, err := fromAll(atOnce, n, work)
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		own.add(got)
		for i, p := range peers {
			got, err := fromAll(atOnce, max(n/p.share, atOnce), p.work)
			if err != nil {
				b.Fatalf("%s: %v", p.name, err)
			}
			others[i].add(got)
		}
	}
	b.ReportMetric(own.rate(), "ops/s")
	b.ReportMetric(own.quantile(0.5), "p50-ms")
	b.ReportMetric(own.quantile(0.99), "p99-ms")
	for i, p := range peers {
		b.ReportMetric(own.rate()/others[i].rate(), "x-"+p.name)
	}
}
