package commit

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/broker"
)

// The pauses between tries of a failing rejoin.
const (
	minRejoinPause = 100 * time.Millisecond
	maxRejoinPause = 5 * time.Second
)

// rejoin is what the committer knows about the end of its broker's run on a shared engine.
type rejoin struct {
	needed bool // the run has ended, and no new one has begun
	err    error
	pause  time.Duration // after the last try, which failed
	next   time.Time     // of the next try
}

// try begins a new run if one is needed or a request of batch asks for it. After a failure it does nothing
// until a pause has passed, so that the requests in the meantime fail at once.
func (r *rejoin) try(ctx context.Context, ledger broker.Ledger, batch []commitRequest) {
	for _, req := range batch {
		r.needed = r.needed || req.rejoin
	}
	if !r.needed || time.Now().Before(r.next) {
		return
	}
	if r.err = ledger.Rejoin(ctx); r.err != nil {
		r.pause = min(max(2*r.pause, minRejoinPause), maxRejoinPause)
		r.next = time.Now().Add(r.pause)
		return
	}
	*r = rejoin{}
}

// Rejoin begins a new run of the broker on the engine that it shares with others, if another broker has ended the present
// one. The committer does so by itself before the first commit after one that was refused for that reason;
// a broker that finds out otherwise calls Rejoin.
func (p *Path) Rejoin(ctx context.Context) error {
	result, err := p.committer.Ask(ctx, commitRequest{rejoin: true})
	if err != nil {
		return fmt.Errorf("joining again: %w", err)
	}
	return result.rejoin
}
