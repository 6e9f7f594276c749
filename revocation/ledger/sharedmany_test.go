package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store/memstore"
)

// TestBrokersThatRecordAtTheSameTime: three brokers revoke, while commits lose their answers and hints are lost. What
// was acknowledged anywhere before a barrier, an answer or a heartbeat is covered by it, and each listener gets every batch
// once.
func TestBrokersThatRecordAtTheSameTime(t *testing.T) {
	const brokers, each = 3, 40
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var (
			members [brokers]*member
			heard   [brokers]map[string]int
			mu      sync.Mutex
			known   []string // acknowledged
		)
		for i := range members {
			members[i] = c.join()
		}
		acknowledged := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return known[:len(known):len(known)]
		}
		var listening, work sync.WaitGroup
		for i, m := range members {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			var lock sync.Mutex
			m.fault = func(op memstore.Op) memstore.Fault {
				lock.Lock()
				n, pause := random.IntN(20), random.IntN(5)
				lock.Unlock() // in a bubble, nothing may wait for it while time passes
				switch {
				case op.Kind == memstore.OpHint && n < 10:
					return memstore.Refuse
				case op.Kind == memstore.OpCommit && n < 3:
					return memstore.LoseAnswer
				case op.Kind == memstore.OpCommit && n < 6:
					return memstore.Keep
				}
				time.Sleep(time.Duration(pause) * time.Millisecond)
				return memstore.OK
			}
			m.goes()
			l := listen(t, hub(t, m.process, &bus{}), "")
			heard[i] = map[string]int{}
			listening.Go(func() {
				for len(heard[i]) < brokers*each {
					e, err := l.Next(within(t, time.Minute))
					if err != nil {
						t.Error(err)
						return
					}
					if e.Name == ledger.StreamBatch {
						heard[i][string(e.Data)]++
					}
				}
			})
			work.Go(func() {
				for n := range each {
					value := fmt.Sprintf("b%d-%d", i, n)
					if err := m.try(t.Context(), sid(value)); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					known = append(known, value)
					mu.Unlock()
				}
			})
			work.Go(func() {
				for range each {
					before := acknowledged()
					if err := m.Barrier(t.Context()); err != nil {
						t.Error(err)
						return
					}
					for _, value := range before {
						if !m.denylist.Revoked(revocation.Subject{SID: value}) {
							t.Errorf("%s is not in force after a barrier", value)
						}
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
		}
		work.Wait()
		c.engine.Retransmit()
		listening.Wait()
		for i, m := range members {
			heads := headsOf(m.answer(""))
			for j, other := range members {
				if heads[other.Origin()] != each || other.Head() != each {
					t.Errorf("broker %d: head %d of broker %d", i, heads[other.Origin()], j)
				}
			}
			for batch, times := range heard[i] {
				if times != 1 {
					t.Errorf("broker %d sent %d times %s", i, times, batch)
				}
			}
		}
	})
}
