package badgerstore_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

// Every record is scanned once and in order, at any cut.
func TestScanOfAllPartsEqualsList(t *testing.T) {
	s, err := badgerstore.Open(badgerstore.Config{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, count := range []int{0, 1, 2, 1000} {
		prefix := fmt.Sprintf("p%d.", count)
		var writes []store.Write
		for i := range count {
			writes = append(writes, store.Write{Key: fmt.Sprintf("%s%c%d", prefix, 'a'+i%26, i), Value: []byte(fmt.Sprint(i))})
		}
		writes = append(writes, store.Write{Key: prefix[:len(prefix)-1]}, store.Write{Key: prefix[:len(prefix)-1] + "/"})
		if err := s.Commit(t.Context(), []store.Change{{Writes: writes}}, nil)[0]; err != nil {
			t.Fatal(err)
		}
		want := []string{}
		list, err := s.List(t.Context(), prefix, "", 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			want = append(want, r.Key+"="+string(r.Value))
		}
		for _, parts := range []int{0, 1, 2, 8, 100} {
			cuts, err := s.Split(t.Context(), prefix, parts)
			if err != nil {
				t.Fatal(err)
			}
			if len(cuts) > max(parts-1, 0) || !slices.IsSorted(cuts) || slices.ContainsFunc(cuts, func(k string) bool { return !strings.HasPrefix(k, prefix) }) {
				t.Errorf("%d records in %d parts: cuts %q", count, parts, cuts)
			}
			if count == 1000 && parts == 8 && len(cuts) != 7 {
				t.Errorf("%d cuts", len(cuts))
			}
			got := []string{}
			cuts = append(append([]string{prefix}, cuts...), prefix+"\xff")
			for i := range cuts[1:] {
				if err := s.Scan(t.Context(), cuts[i], cuts[i+1], func(key, value []byte) error {
					got = append(got, string(key)+"="+string(value))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d records in %d parts: got %d", count, parts, len(got))
			}
		}
	}
	stop := fmt.Errorf("enough")
	if err := s.Scan(t.Context(), "p2.", "p3", func(_, _ []byte) error { return stop }); err != stop { //nolint:errorlint // to the letter
		t.Errorf("the callback's error is returned as %v", err)
	}
}
