package bulkwrite_test

import (
	"fmt"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/bulkwrite"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// fill writes n records of that size and returns how many a commit had at most.
func fill(t *testing.T, to store.Store, n, size int) (largest int) {
	t.Helper()
	total := 0
	err := bulkwrite.Fill(t.Context(), to, func(write func(store.Write) error) error {
		for i := range n {
			w := store.Write{Key: fmt.Sprintf("user.%06d", i), Value: []byte(strings.Repeat("x", size)), Blind: true}
			if err := write(w); err != nil {
				return err
			}
		}
		return nil
	}, func(records int) { total, largest = total+records, max(largest, records) })
	if err != nil || total != n {
		t.Fatalf("%d of %d records were written: %v", total, n, err)
	}
	return largest
}

func count(t *testing.T, from store.Reader) (n int) {
	t.Helper()
	for after := ""; ; {
		page, err := from.List(t.Context(), "", after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return n
		}
		n, after = n+len(page), page[len(page)-1].Key
	}
}

func TestFillWritesManyRecordsInOneCommit(t *testing.T) {
	s := memstore.New(nil)
	if largest := fill(t, s, 2345, 10); largest != 1000 || count(t, s) != 2345 {
		t.Errorf("%d records in one commit, %d in all; want 1000 and 2345", largest, count(t, s))
	}
	if largest := fill(t, s, 40, 300<<10); largest > 4 {
		t.Errorf("%d records of 300 KiB in one commit", largest)
	}
}

func TestFillCommitsAgainWhatDidNotFit(t *testing.T) {
	engine := memstore.NewEngine(nil)
	run, err := origins.Join(t.Context(), origins.Config{Engine: engine.Open(nil), Name: "a", KEK: "kek"})
	if err != nil {
		t.Fatal(err)
	}
	own := count(t, run)
	engine.Limit(120)
	if largest := fill(t, run, 2345, 10); largest != 100 || count(t, run) != 2345+own {
		t.Errorf("%d records in one commit, %d in all; want 100 and %d", largest, count(t, run), 2345+own)
	}
	engine.Limit(20)
	if err := bulkwrite.Clear(t.Context(), run, run.Own); err == nil {
		t.Error("no error of an engine that accepts no change of that size")
	}
	engine.Limit(0)
	if err := bulkwrite.Clear(t.Context(), run, run.Own); err != nil || count(t, run) != 1 {
		t.Errorf("%d records are left, want that of the origin: %v", count(t, run), err)
	}
}

// TestClearGoesOnAfterAnswersAreLost: a run cannot tell whether a deletion was written.
func TestClearGoesOnAfterAnswersAreLost(t *testing.T) {
	commits := 0
	engine := memstore.NewEngine(nil).Open(func(op memstore.Op) memstore.Fault {
		if op.Kind == memstore.OpCommit {
			if commits++; commits%2 == 0 {
				return memstore.LoseAnswer
			}
		}
		return memstore.OK
	})
	run, err := origins.Join(t.Context(), origins.Config{Engine: engine, Name: "a", KEK: "kek"})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, run, 2345, 10)
	if err := bulkwrite.Clear(t.Context(), run, run.Own); err != nil || count(t, run) != 1 {
		t.Errorf("%d records are left, want that of the origin: %v", count(t, run), err)
	}
}
