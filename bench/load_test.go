package bench

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// turns is how often a benchmark alternates with its peers, so that other load on the machine slows
// all of them.
const turns = 8

// outcome is the result of a number of operations.
type outcome struct {
	took      time.Duration
	latencies []time.Duration
}

func (o *outcome) add(more outcome) {
	o.took += more.took
	o.latencies = append(o.latencies, more.latencies...)
}

// rate returns the operations per second.
func (o *outcome) rate() float64 { return float64(len(o.latencies)) / o.took.Seconds() }

// quantile returns a quantile of the latency in milliseconds.
func (o *outcome) quantile(q float64) float64 {
	if len(o.latencies) == 0 {
		return 0
	}
	slices.Sort(o.latencies)
	return float64(o.latencies[int(float64(len(o.latencies)-1)*q)].Microseconds()) / 1000
}

// fromAll does work n times, shared among the given number of concurrent clients, and returns the
// joined first errors of the clients.
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

// peer is other work with which a benchmark is compared.
type peer struct {
	// name makes the metric x-name: the benchmark's rate divided by the peer's.
	name string
	work func(client int) error
	// share is the number of the benchmark's operations for each operation of the peer. It should
	// be about the ratio of their costs, so that both run for about the same time.
	share int
}

// measure does work b.N times from the given number of concurrent clients and reports its rate and
// latency. The peers alternate with it, outside of the measured time. It returns all outcomes.
func measure(b *testing.B, atOnce int, work func(client int) error, peers ...peer) (own outcome, others []outcome) {
	b.Helper()
	others = make([]outcome, len(peers))
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
	return own, others
}
