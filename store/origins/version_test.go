package origins_test

import (
	"strings"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// The versions of a release, which each store has when it is created, and of the next one.
var (
	thisRelease = [2]int{1, 1}
	nextRelease = [2]int{1, 2}
)

// joinAs adds a broker of a release.
func (w *world) joinAs(name string, speaks [2]int) *broker {
	w.t.Helper()
	b := w.add(name)
	b.speaks = speaks
	wantErr(w.t, b.join(), nil)
	return b
}

// version checks the version of the store and that of the records of the live brokers.
func (w *world) version(want int) {
	w.t.Helper()
	v, err := origins.ReadVersion(w.t.Context(), w.engine.Open(nil))
	if err != nil || v.MinReader != want {
		w.t.Errorf("the store has version %d, want %d; %v", v.MinReader, want, err)
	}
	all, err := origins.List(w.t.Context(), w.engine.Open(nil))
	wantErr(w.t, err, nil)
	for _, o := range all {
		if !o.Ended && o.V != want {
			w.t.Errorf("%s writes version %d, want %d", o.Name, o.V, want)
		}
	}
	for _, b := range w.brokers {
		if !b.stopped && b.Version() != want {
			w.t.Errorf("%s takes the version for %d, want %d", b.name, b.Version(), want)
		}
	}
}

func (b *broker) leave() {
	b.world.t.Helper()
	wantErr(b.world.t, b.Leave(b.world.t.Context()), nil)
	b.stopped = true
}

// Brokers are replaced one by one. The version rises when the last one of the old release has left; until then each can go back.
func TestAStoreIsRaisedWhenEachBrokerSpeaksTheVersion(t *testing.T) {
	w := newWorld(t)
	a, b := w.joinAs("a", thisRelease), w.joinAs("b", thisRelease)
	w.run(10 * time.Second)
	w.version(1)
	a.leave()
	a = w.joinAs("a", nextRelease)
	w.run(time.Minute)
	w.version(1)
	a.leave() // back to the old release
	a = w.joinAs("a", thisRelease)
	w.run(time.Minute)
	w.version(1)
	a.leave()
	a = w.joinAs("a", nextRelease)
	b.leave()
	w.run(10 * time.Second)
	w.version(2)
	b = w.joinAs("b", nextRelease)
	w.run(10 * time.Second)
	w.version(2)
	old := w.add("c")
	old.speaks = thisRelease
	before := w.now
	err := old.join()
	wantErr(t, err, origins.ErrStoreVersion)
	for _, want := range []string{"version 2", `raised by "test"`, "at most 1", "start that program or a later one", "backup"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
	if w.now != before {
		t.Errorf("refused after %v", w.now-before)
	}
	program := w.program("restore")
	program.speaks = thisRelease
	wantErr(t, program.join(), origins.ErrStoreVersion)
	late := w.add("d")
	late.speaks = [2]int{3, 4}
	wantErr(t, late.join(), origins.ErrStoreVersion)
	if got := len(w.view(a).Live()); got != 2 || w.marked() {
		t.Errorf("%d live origins, marked %v", got, w.marked())
	}
	wantErr(t, b.put("k", 0), nil)
}

// A broker of the old release that was paused until the others have ended it finds out why it cannot continue.
func TestABrokerThatWasEndedBeforeTheVersionRoseEnds(t *testing.T) {
	for name, find := range map[string]func(old *broker) error{
		"by a tick": func(old *broker) error { return old.Tick(old.world.t.Context()) },
		"by a commit": func(old *broker) error {
			wantErr(old.world.t, old.put("k", 0), store.ErrFenced)
			return old.Rejoin(old.world.t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old := w.joinAs("old", thisRelease)
			w.joinAs("new", nextRelease)
			w.run(10 * time.Second)
			old.stopped = true
			w.run(20 * time.Second)
			w.version(1)
			w.run(20 * time.Second)
			w.version(2)
			wantErr(t, find(old), origins.ErrStoreVersion)
			if err := old.put("k", 0); err == nil {
				t.Error("it still writes")
			}
		})
	}
}

// TestABrokerOfTheOldReleaseThatJoinsWhileTheVersionRises lets it join at each read and commit of the tick that raises the version:
// either it joins and the version stays, or it is refused.
func TestABrokerOfTheOldReleaseThatJoinsWhileTheVersionRises(t *testing.T) {
	for _, first := range []string{"the raise", "the join"} {
		outcomes := map[bool]int{}
		for at := 1; ; at++ {
			w := newWorld(t)
			a := w.joinAs("a", thisRelease)
			b := w.joinAs("b", nextRelease)
			w.run(time.Second)
			a.leave()
			old := w.add("old")
			old.speaks = thisRelease
			raise := func() error { return b.Tick(t.Context()) }
			one, doOne, doTwo := b, raise, old.join
			if first == "the join" {
				one, doOne, doTwo = old, old.join, raise
			}
			n := 0
			var twoErr error
			one.faults = func(op memstore.Op) memstore.Fault {
				if n++; n == at {
					twoErr = doTwo()
				}
				return memstore.OK
			}
			oneErr := doOne()
			if n < at {
				break
			}
			joinErr := twoErr
			if first == "the join" {
				joinErr = oneErr
			}
			old.stopped, one.faults = true, nil
			outcomes[joinErr == nil]++
			w.run(6 * time.Second)
			if joinErr != nil {
				wantErr(t, joinErr, origins.ErrStoreVersion)
				w.version(2)
			} else {
				w.version(1)
			}
		}
		if outcomes[true] == 0 || (outcomes[false] == 0) != (first == "the raise") { // which ends with the write
			t.Errorf("%s first: joined %d times, refused %d times", first, outcomes[true], outcomes[false])
		}
	}
}

func TestTheVersionOfAStoreThatGoesBackIsARewoundEngine(t *testing.T) {
	w := newWorld(t)
	a := w.joinAs("a", nextRelease)
	w.run(6 * time.Second)
	w.version(2)
	w.write(store.Write{Key: origins.VersionKey, Value: []byte(`{"v":1,"min_reader":1}`), Blind: true})
	wantErr(t, a.Tick(t.Context()), origins.ErrRewound)
}

func TestRecordsOfLaterVersionsAreDecoded(t *testing.T) {
	r, err := origins.Decode(store.Record{Key: "origin.x", Value: []byte(`{"v":3,"n":2,"head":1,"name":"b","speaks":[2,3],"later":{}}`), Revision: 1})
	if err != nil || r.V != 3 || r.Name != "b" || r.Speaks != [2]int{2, 3} {
		t.Errorf("%+v %v", r, err)
	}
	v, err := origins.DecodeVersion(store.Record{Key: origins.VersionKey, Value: []byte(`{"v":2,"min_reader":3,"build":"x","later":1}`), Revision: 1})
	if err != nil || v.MinReader != 3 || v.Build != "x" {
		t.Errorf("%+v %v", v, err)
	}
	if v, err := origins.DecodeVersion(store.Record{Key: origins.VersionKey}); err != nil || v.MinReader != 1 {
		t.Errorf("without a record: %+v %v", v, err)
	}
	for _, value := range []string{``, `{}`, `{"v":1}`, `{"v":1,"min_reader":0}`, `{"v":0,"min_reader":1}`, `[]`, `{"v":1,"min_reader":"2"}`} {
		if v, err := origins.DecodeVersion(store.Record{Key: origins.VersionKey, Value: []byte(value), Revision: 1}); err == nil {
			t.Errorf("%q: %+v", value, v)
		}
	}
	if _, err := origins.Decode(store.Record{Key: "origin.x", Value: []byte(`{"v":0}`)}); err == nil {
		t.Error("an origin of version 0 was decoded")
	}
}

func TestAStoreWithOneBrokerIsRaisedAtItsStart(t *testing.T) {
	s := memstore.New(time.Now)
	for _, tt := range []struct {
		speaks  [2]int
		version int
		err     error
	}{
		{thisRelease, 1, nil}, {nextRelease, 2, nil}, {thisRelease, 2, origins.ErrStoreVersion}, {nextRelease, 2, nil}, {[2]int{2, 3}, 3, nil},
		{[2]int{4, 5}, 3, origins.ErrStoreVersion},
	} {
		v, err := origins.RaiseAlone(t.Context(), s, tt.speaks, "build")
		wantErr(t, err, tt.err)
		if v != tt.version {
			t.Errorf("%v: version %d, want %d", tt.speaks, v, tt.version)
		}
	}
}
