package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/store/memstore"
)

// follow gives the sequence numbers of what comes after seq.
func follow(t *testing.T, p *process, seq, limit uint64) string {
	t.Helper()
	batches, err := p.Follow(t.Context(), seq, limit)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, b := range batches {
		text += fmt.Sprintf("%d@%s ", b.Seq, b.Written)
	}
	return text
}

func TestFollowTellsWhenEachBatchWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		for i := range 3 {
			time.Sleep(time.Second)
			p.revoke(sid(fmt.Sprint("s", i)))
		}
		if got := follow(t, p, 0, 2); got != "1@1s 2@2s " {
			t.Errorf("from the beginning: %s", got)
		}
		if got := follow(t, p, 2, 16); got != "3@3s " {
			t.Errorf("from the second: %s", got)
		}
	})
}

func TestFollowWaitsForTheNextBatchOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s1"))
		got := make(chan string)
		go func() { got <- follow(t, p, 1, 16) }()
		synctest.Wait()
		select {
		case early := <-got:
			t.Errorf("got %s before there was any", early)
		default:
		}
		p.revoke(sid("s2"))
		if now := <-got; now != "2@0s " {
			t.Errorf("got %s", now)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Follow(ctx, 2, 16); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended by %v", err)
		}
	})
}

func TestFollowLeavesOutWhatWasCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, memstore.New(nil))
		p.revoke(sid("s1"))
		p.revoke(sid("s2"))
		time.Sleep(3 * time.Minute)
		p.collect()
		p.revoke(sid("alive"))
		if got := follow(t, p, 0, 16); got != "3@3m0s " {
			t.Errorf("got %s", got)
		}
	})
}
