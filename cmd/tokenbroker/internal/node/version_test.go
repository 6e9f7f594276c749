package node_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/store"
	"tokenbroker/store/origins"
)

// nextRelease makes a broker that of a release with another version of the store.
func nextRelease(c *node.Config) { c.Speaks, c.Version = [2]int{1, 3}, "next" }

// TestBrokersAreUpgradedOneByOne replaces each of three brokers by one of the next release, and goes back once. A session that is
// refreshed all the time continues, and no service becomes stale.
func TestBrokersAreUpgradedOneByOne(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 3)
	services := b.services(0)
	b.fresher(services)
	s := b.signInAt(b.all[0])
	replace := func(m *member, change ...func(*node.Config)) {
		t.Helper()
		m.stop()
		for _, other := range b.all {
			if other.node != nil {
				if a := s.refreshAt(other); a.status != http.StatusOK {
					t.Errorf("refresh at %s while %s is away: %d %s", other.name, m.name, a.status, a.body)
				}
			}
		}
		if err := m.start(change...); err != nil {
			t.Fatal(err)
		}
		m.becomes(http.StatusOK)
		if a := s.refreshAt(m); a.status != http.StatusOK {
			t.Errorf("refresh at the new %s: %d %s", m.name, a.status, a.body)
		}
	}
	version := func(want int) {
		t.Helper()
		for _, m := range b.all {
			if got := m.status().Store.Version; got != want {
				t.Errorf("%s shows version %d, want %d", m.name, got, want)
			}
		}
	}
	becomes := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprint("all brokers use version ", want), func() bool {
			for _, m := range b.all {
				if m.status().Store.Version != want {
					return false
				}
			}
			return true
		})
	}
	becomes(2)
	replace(b.all[0], nextRelease)
	replace(b.all[1], nextRelease)
	version(2)
	replace(b.all[1]) // back to the old release
	version(2)
	replace(b.all[1], nextRelease)
	replace(b.all[2], nextRelease)
	becomes(3)
	for _, br := range b.all[0].status().Cluster.Brokers {
		if br.Live && br.Speaks != [2]int{1, 3} {
			t.Errorf("%s speaks %v", br.Name, br.Speaks)
		}
	}
	b.all[0].stop()
	if err := b.all[0].start(); !errors.Is(err, origins.ErrStoreVersion) || !strings.Contains(err.Error(), `"next"`) {
		t.Errorf("the old release: %v", err)
	}
	b.fresher(services)
}

// TestABrokerThatCannotUseTheStoreAnyMoreEnds ends a broker's origin and raises the version, as others do while it is paused.
func TestABrokerThatCannotUseTheStoreAnyMoreEnds(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 1)
	m := b.all[0]
	engine := b.engine.Open(nil)
	eventually(t, "the origin is ended", func() bool {
		all, err := origins.List(t.Context(), engine)
		if err != nil || len(all) != 1 {
			t.Fatal(len(all), err)
		}
		ended := all[0].Record
		ended.Ended, ended.Last = true, all[0].Revision
		_, errs := engine.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{
			{Key: origins.Key(all[0].ID), Value: ended.Encode(), Expect: all[0].Revision},
			{Key: origins.VersionKey, Value: []byte(`{"v":1,"min_reader":3,"build":"next"}`), Blind: true},
		}}}, nil)
		return errs[0] == nil
	})
	select {
	case err := <-m.fatal:
		if !errors.Is(err, origins.ErrStoreVersion) {
			t.Errorf("it ends its process: %v", err)
		}
	case <-time.After(patience):
		t.Error("it does not end its process")
	}
}

// TestAStoreOfTheNextReleaseIsRefused does the same with the embedded store.
func TestAStoreOfTheNextReleaseIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	start := func(change ...func(*node.Config)) error {
		c := l.config()
		for _, f := range change {
			f(&c)
		}
		n, err := node.Start(t.Context(), c)
		if err == nil {
			err = n.Close()
		}
		return err
	}
	for _, tt := range []struct {
		change []func(*node.Config)
		want   error
	}{{nil, nil}, {nil, nil}, {[]func(*node.Config){nextRelease}, nil}, {nil, origins.ErrStoreVersion}, {[]func(*node.Config){nextRelease}, nil}} {
		if err := start(tt.change...); !errors.Is(err, tt.want) {
			t.Errorf("got %v, want %v", err, tt.want)
		}
	}
}
