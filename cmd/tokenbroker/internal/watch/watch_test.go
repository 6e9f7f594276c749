package watch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/watch"
)

func TestBatchIsShownBeforeItsReceipts(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.revoke("before the first watcher")
		l.receipt("a", true)
		w := l.watch()
		defer w.Close()
		expect(t, w, "a/1 fresh<")
		l.revoke("s1", "s2")
		expect(t, w, "")
		time.Sleep(7 * time.Millisecond)
		l.flush()
		expect(t, w, "2 s1,s2 7 ms", "")
		time.Sleep(3 * time.Millisecond)
		l.receipt("a", true)
		expect(t, w, "2 1/1 10 ms", "")
	})
}

func TestWaitsForNetworkAndServicesAreBounded(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.receipt("a", true)
		w := l.watch()
		defer w.Close()
		expect(t, w, "a/1 fresh<")
		began := time.Now()
		for i := range 3 {
			l.revoke(fmt.Sprint("s", i))
		}
		expect(t, w, "1 s0 pending", "2 s1 pending", "3 s2 pending")
		if d := time.Since(began); d != 250*time.Millisecond {
			t.Errorf("shown after %s", d)
		}
		expect(t, w, "1 0/1 0 ms a/1", "2 0/1 0 ms a/1", "3 0/1 0 ms a/1")
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("the laggard is named after %s", d)
		}
	})
}

func TestBatchWithoutServicesIsAppliedByNoneOfNone(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		w := l.watch()
		defer w.Close()
		l.revoke("s1")
		expect(t, w, "") // the number of services must not come before the batch itself
		l.flush()
		expect(t, w, "1 s1 0 ms", "1 0/0 0 ms", "")
	})
}

func TestServicesAreShownAsTheirStateChanges(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		w := l.watch()
		defer w.Close()
		l.receipt("a", true)
		expect(t, w, "a/1 fresh<")
		l.receipt("a", false)
		l.receipt("b", true)
		expect(t, w, "a/1 stale<fresh", "b/1 fresh<", "")
		late := l.watch()
		defer late.Close()
		expect(t, late, "a/1 stale<", "b/1 fresh<", "")
		expect(t, w, "a/1 silent<stale", "b/1 silent<fresh")
		time.Sleep(time.Minute)
		expect(t, w, "a/1 gone<silent", "b/1 gone<silent", "")
	})
}

func TestTheBrokerThatAServiceHearsIsShown(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		w := l.watch()
		defer w.Close()
		l.hears = "oa"
		l.receipt("a", true)
		expect(t, w, "a/1 fresh< oa=broker-a")
		l.receipt("a", true)
		expect(t, w, "")
		l.hears = "ob" // which is not on record any more
		l.receipt("a", true)
		expect(t, w, "a/1 fresh<fresh ob=")
	})
}

func TestChangesOfKeysAreShown(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.Key(admin.WatchKey{What: "before the first watcher"})
		w := l.watch()
		defer w.Close()
		l.Key(admin.WatchKey{What: "key_activated"})
		expect(t, w, "key key_activated", "")
	})
}

func TestReceiptsAreWantedOnlyWithWatchers(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for range 2 {
			one, two := l.watch(), l.watch()
			one.Close()
			one.Close()
			if !l.collector.Wanted() {
				t.Error("receipts are not wanted although there is a watcher")
			}
			two.Close()
			if l.collector.Wanted() {
				t.Error("receipts are wanted without a watcher")
			}
		}
	})
}

// A watcher gets everything that is committed after it came and nothing older, in whatever state the hub is,
// such as just after the last of the others left.
func TestViewStartsAtTheHead(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for i := range 20 {
			w, err := l.Watch()
			if err != nil {
				t.Fatal(err)
			}
			l.revoke(fmt.Sprint("s", i))
			l.flush()
			expect(t, w, fmt.Sprintf("%d s%d 0 ms", 2*i+1, i))
			w.Close()
			l.revoke("unseen")
		}
	})
}

func TestWatchersAreBoundedAndEndWithTheHub(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		one, two := l.watch(), l.watch()
		if _, err := l.Watch(); !errors.Is(err, watch.ErrTooMany) {
			t.Errorf("a third: %v", err)
		}
		two.Close()
		two = l.watch()
		ended := make(chan error)
		go func() {
			_, err := one.Next(context.Background())
			ended <- err
		}()
		synctest.Wait()
		l.Close()
		if err := <-ended; !errors.Is(err, watch.ErrClosed) {
			t.Errorf("the first view ended with %v", err)
		}
		if _, err := two.Next(t.Context()); !errors.Is(err, watch.ErrClosed) {
			t.Errorf("the second view ended with %v", err)
		}
		if _, err := l.Watch(); !errors.Is(err, watch.ErrClosed) {
			t.Errorf("Watch after Close: %v", err)
		}
	})
}

// A watcher that does not read is cut off, and does not delay the others.
func TestSlowWatcherIsCutOff(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		slow, quick := l.watch(), l.watch()
		defer slow.Close()
		defer quick.Close()
		values := make([]string, 2000)
		for i := range 25 { // 11 MB
			for j := range values {
				values[j] = fmt.Sprintf("%0100d-%d", i, j)
			}
			l.revoke(values...)
			l.flush()
			for {
				e, err := quick.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if e.Name == admin.WatchTypeApplied {
					break
				}
			}
		}
		if _, err := slow.Next(t.Context()); !errors.Is(err, watch.ErrSlow) {
			t.Errorf("the slow view ended with %v", err)
		}
		if l.Watchers() != 1 {
			t.Errorf("%d watchers, want 1", l.Watchers())
		}
	})
}

// A service that lags behind does not make the others look slow: the services of each batch are timed from
// the commit of the batch, even while an earlier batch waits.
func TestLaggardDoesNotChangeTheTimesOfOthers(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.receipt("a", true)
		l.receipt("z", true)
		w := l.watch()
		defer w.Close()
		expect(t, w, "a/1 fresh<", "z/1 fresh<")
		var shown, applied []string
		for seq := range 5 {
			l.revoke("s")
			l.flush()
			synctest.Wait()
			time.Sleep(3 * time.Millisecond)
			l.receipt("a", true)
			time.Sleep(97 * time.Millisecond)
			shown = append(shown, fmt.Sprintf("%d s 0 ms", seq+1))
			applied = append(applied, fmt.Sprintf("%d 1/2 3 ms z/1", seq+1))
		}
		expect(t, w, append(shown, applied...)...)
	})
}

// The receipts of each batch are shown, even if more batches wait for a laggard than the hub keeps.
func TestReceiptsOfEveryBatchAreShown(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.receipt("z", true)
		w := l.watch()
		defer w.Close()
		expect(t, w, "z/1 fresh<")
		const batches = 1500
		for range batches {
			l.revoke("s")
			l.flush()
		}
		for applied := 0; applied < batches; {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			e, err := w.Next(ctx)
			cancel()
			if err != nil {
				t.Fatalf("after %d: %v", applied, err)
			}
			if e.Name == admin.WatchTypeApplied {
				applied++
			}
		}
	})
}

func TestUsersOfTheFirstEventsAreNamed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.names = map[string]string{"s0": "ada", "s19": "bob", "s20": "eve"}
		w := l.watch()
		defer w.Close()
		values, want := make([]string, 25), make([]string, 25)
		for i := range values {
			values[i] = fmt.Sprint("s", i)
			want[i] = values[i]
		}
		want[0], want[19] = "s0=ada", "s19=bob"
		l.revoke(values...)
		l.flush()
		expect(t, w, "1 "+strings.Join(want, ",")+" 0 ms")
	})
}
