package memstore_test

import (
	"errors"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memstore.New(nil) })
}

func TestRecordsExpireByTheGivenClock(t *testing.T) {
	now := time.Unix(1000, 0)
	s := memstore.New(func() time.Time { return now })
	w := store.Write{Key: "a", Value: []byte("v"), ExpiresAt: 1001}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "a"); err != nil {
		t.Fatalf("before its end: %v", err)
	}
	now = time.Unix(1001, 0)
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("at its end: %v", err)
	}
}

func TestConflictingInjectsAndWritesNothing(t *testing.T) {
	inner := memstore.New(nil)
	s := storetest.Conflicting(inner, storetest.Times(2))
	changes := []store.Change{
		{Writes: []store.Write{{Key: "blind", Blind: true}}},
		{Writes: []store.Write{{Key: "a"}}},
		{Writes: []store.Write{{Key: "b"}}},
		{Writes: []store.Write{{Key: "c"}}},
	}
	errs := s.Commit(t.Context(), changes, nil)
	for i, want := range []error{nil, store.ErrConflict, store.ErrConflict, nil} {
		if !errors.Is(errs[i], want) {
			t.Errorf("change %d: %v, want %v", i, errs[i], want)
		}
	}
	if s.Injected() != 2 {
		t.Errorf("injected %d", s.Injected())
	}
	records, _ := s.List(t.Context(), "", "", 9)
	if len(records) != 2 || records[0].Key != "blind" || records[1].Key != "c" {
		t.Errorf("written: %v", records)
	}
}

func TestRefusingByTheFenceRefusesTheCommit(t *testing.T) {
	inner := memstore.New(nil)
	s := storetest.Refusing(inner, func(c store.Change) error {
		if c.Writes[0].Key == "fenced" {
			return store.ErrFenced
		}
		return nil
	})
	errs := s.Commit(t.Context(), []store.Change{blind("a", "1"), blind("fenced", "1"), blind("b", "1")}, nil)
	wantErrs(t, errs, store.ErrFenced, store.ErrFenced, store.ErrFenced)
	if inner.Commits() != 0 {
		t.Error("the commit was written")
	}
}
