package devserver

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/store/etcdstore/member"
)

// A cluster keeps its members and their ports over runs with the same data directory.
func TestMembersAreThoseOfTheFirstRun(t *testing.T) {
	for brokers, want := range map[int]int{1: 1, 2: 1, 3: 3, 5: 3} {
		r := &run{Options: Options{Brokers: brokers}, dataDir: t.TempDir()}
		first, endpoints, err := r.members()
		if err != nil {
			t.Fatal(err)
		}
		if len(first) != want || len(endpoints) != want {
			t.Errorf("%d brokers have %d members, want %d", brokers, len(first), want)
		}
		for _, m := range first {
			if err := writeJSON(filepath.Join(r.dataDir, m.name+".json"), m.settings); err != nil {
				t.Fatal(err)
			}
		}
		again, _, err := r.members()
		if err != nil {
			t.Fatal(err)
		}
		for i := range again {
			if diff := cmp.Diff(first[i].settings, again[i].settings); diff != "" {
				t.Errorf("%s at the second run (-first +second):\n%s", first[i].name, diff)
			}
			if c := again[i].settings.(*member.Config); c.Peers[c.Name] != c.PeerURL || c.Dir != filepath.Join(r.dataDir, c.Name) {
				t.Errorf("%+v", c)
			}
		}
		r.Brokers = map[int]int{1: 3, 3: 2}[want] // needs another number of members
		if _, _, err := r.members(); err == nil || !strings.Contains(err.Error(), "name another --data-dir") {
			t.Errorf("--brokers %d with the data of %d members: %v", r.Brokers, want, err)
		}
	}
}
