package origins_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"tokenbroker/store"
)

func TestARunIsSafeForConcurrentUse(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	wantErr(t, a.Tick(t.Context()), nil)
	var group sync.WaitGroup
	for i, do := range []func(n int) error{
		func(n int) error { return a.put(fmt.Sprint("x", n), 0) },
		func(n int) error { return a.put(fmt.Sprint("y", n), 0) },
		func(int) error { return a.Tick(t.Context()) },
		func(int) error { _, err := a.View(t.Context()); return err },
		func(int) error { _, _, err := a.Collector(t.Context()); return err },
		func(int) error {
			a.Silent()
			a.Clock()
			a.Members()
			a.Live()
			a.Origin()
			return nil
		},
		func(n int) error { return b.put(fmt.Sprint("z", n), 0) },
	} {
		group.Go(func() {
			for n := range 100 {
				if err := do(n); err != nil {
					t.Errorf("worker %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
	if r, _ := w.record(a.Origin()); r.N < 200 || r.Head != 0 {
		t.Errorf("record: %+v", r)
	}
	if err := a.Leave(t.Context()); err != nil || !errors.Is(a.put("k", 0), store.ErrClosed) {
		t.Errorf("leaving: %v", err)
	}
}
