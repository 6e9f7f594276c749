package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store/memstore"
)

// forgetfulBus records only the last sequence number that was flushed.
type forgetfulBus struct {
	mu          sync.Mutex
	down        bool
	pending     uint64
	unflushed   int
	seq, beats  uint64
	most        int
	outOfOrder  bool
	publishings int
}

func (b *forgetfulBus) set(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

func (b *forgetfulBus) Publish(_ string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return errors.New("down")
	}
	typ, payload, _ := strings.Cut(string(data), " ")
	if typ != revocation.BatchType {
		b.beats++
		return nil
	}
	var batch revocation.Batch
	if err := json.Unmarshal([]byte(payload), &batch); err != nil {
		return err
	}
	b.outOfOrder = b.outOfOrder || batch.Seq != b.pending+1
	b.pending, b.unflushed = batch.Seq, b.unflushed+1
	b.publishings++
	b.most = max(b.most, b.unflushed)
	return nil
}

func (b *forgetfulBus) Flush(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return errors.New("down")
	}
	b.seq, b.unflushed = b.pending, 0
	return nil
}

// TestALongOutageOfTheNetworkTakesNoMemory checks that, under load, the publisher uses no more memory
// after a long outage than after the same time without one, and that it sends all batches in order once it
// can.
func TestALongOutageOfTheNetworkTakesNoMemory(t *testing.T) {
	const seconds, each = 400, 4
	grown := map[bool]int64{}
	for _, away := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, network := start(t, memstore.New(nil)), &forgetfulBus{down: away}
			pub := publish(t, p, network)
			before := heapInUse()
			for second := range seconds {
				for i := range each {
					p.revoke(sid(fmt.Sprintf("%02000d-%d", second, i)))
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			grown[away] = heapInUse() - before
			if backlog := pub.Stats().Backlog; away && backlog != seconds*each || !away && backlog != 0 {
				t.Errorf("network away %v: a backlog of %d", away, backlog)
			}
			network.set(false)
			pub.Poke()
			if !pub.Flushed(within(t, time.Minute), p.Origin(), seconds*each) {
				t.Error("not sent")
			}
			network.mu.Lock()
			defer network.mu.Unlock()
			if network.seq != seconds*each || network.publishings != seconds*each || network.outOfOrder || network.most > 16 {
				t.Errorf("network away %v: %d sent up to %d, out of order %v, %d between two flushes",
					away, network.publishings, network.seq, network.outOfOrder, network.most)
			}
		})
	}
	t.Logf("%d bytes with the network, %d without", grown[false], grown[true])
	// A copy of the backlog would be seconds*each*2000 bytes, which is three times as much.
	if more := grown[true] - grown[false]; more > 1<<20 {
		t.Errorf("%d bytes more without the network", more)
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
