package store_test

import (
	"context"
	"errors"
	"testing"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/storetest"
)

// readers are the ways to read a record.
var readers = map[string]func(context.Context, store.Reader) error{
	"Get": func(ctx context.Context, r store.Reader) error { _, err := r.Get(ctx, "none"); return err },
	"GetMany": func(ctx context.Context, r store.Reader) error {
		_, err := r.GetMany(ctx, []string{"none"})
		return err
	},
	"List": func(ctx context.Context, r store.Reader) error { _, err := r.List(ctx, "", "", 1); return err },
}

func TestConfirmedReadsAtAnOldPrimaryFail(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			p := memstore.NewEngine(nil).OpenPrimary(nil)
			r := store.Confirmed(p)
			if err := read(t.Context(), r); err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			p.Replace()
			if err := read(t.Context(), p); err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("the read itself: %v", err)
			}
			if err := read(t.Context(), r); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("at an old primary: %v", err)
			}
			p.Reconnect()
			if err := read(t.Context(), r); err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("at its successor: %v", err)
			}
		})
	}
}

// A write to the successor of a primary does not confirm what was read from the primary.
func TestReadsAreConfirmedByTheirPrimary(t *testing.T) {
	p := memstore.NewEngine(nil).OpenPrimary(nil)
	confirm := store.Confirmation(p)
	p.Replace()
	p.Reconnect()
	if err := confirm(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestAnEngineWithoutConfirmationsIsReadDirectly(t *testing.T) {
	h := memstore.NewEngine(nil).Open(nil)
	if r := store.Confirmed(h); r != store.Reader(h) {
		t.Errorf("it is read through %T", r)
	}
	if r, confirm := store.Provisional(h); r != store.Reader(h) || confirm(t.Context()) != nil {
		t.Errorf("it is read through %T", r)
	}
}

func TestConfirmerConformance(t *testing.T) {
	storetest.RunConfirmer(t, func(*testing.T) storetest.ConfirmerHarness {
		engine := memstore.NewEngine(nil)
		p := engine.OpenPrimary(nil)
		return storetest.ConfirmerHarness{Engine: p, Other: engine.Open(nil), Replace: p.Replace, Reconnect: p.Reconnect}
	})
}
