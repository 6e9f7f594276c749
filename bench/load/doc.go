// Package load sends requests and measures how long they take.
//
// In a [Closed] loop each worker asks again as soon as it was answered: it finds how much
// a server can do, but a server that stalls is asked less meanwhile, so that its latencies
// look better than a user's would be. In an [Open] loop requests arrive at a constant rate,
// whatever the answers do, and a latency counts from the moment a request was meant to be
// sent: a stall shows in every request that arrived during it (the correction for
// coordinated omission).
//
//	result := load.Open{Rate: 2000, Workers: 256, Warmup: time.Second, Duration: 10 * time.Second}.Run(ctx, work)
//	fmt.Println(result.Rate(), result.Latency.Quantile(0.99))
//
// Both are bounded: at most as many requests are under way as there are workers, and what an
// open loop has no room for is counted as dropped. Run waits for all that it started.
package load
