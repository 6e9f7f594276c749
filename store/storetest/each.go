package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/store"
)

// exporter is implemented by stores whose records can be read for another store, as for a backup.
type exporter interface {
	Each(ctx context.Context, prefix string, fn func(store.Write) error) error
}

// exporterOf returns s, or the engine below it, as an exporter.
func exporterOf(s store.Store) (exporter, bool) {
	switch s := s.(type) {
	case *retrying:
		e, ok := s.Engine.(exporter)
		return e, ok
	case snapshotting:
		return exporterOf(s.retrying)
	}
	e, ok := s.(exporter)
	return e, ok
}

func testEach(t *testing.T, s store.Store) {
	from, ok := exporterOf(s)
	if !ok {
		t.Skip("the store has no Each")
	}
	ends := time.Now().Add(time.Hour).Unix()
	want := []string{}
	var changes []store.Change
	for i := range 300 { // more than a page
		w := store.Write{Key: fmt.Sprintf("p.%03d", i), Value: []byte(fmt.Sprint("value ", i))}
		want = append(want, fmt.Sprintf("%s=%s", w.Key, w.Value))
		if i%2 == 1 {
			w.ExpiresAt = ends
		}
		changes = append(changes, change(w))
	}
	changes = append(changes, change(set("o", "v", 0)), change(set("p", "v", 0)), change(set("p/", "v", 0)),
		change(store.Write{Key: "p.gone", Value: []byte("v"), ExpiresAt: ends - 7200}))
	for len(changes) > 0 {
		n := min(len(changes), 50)
		mustCommit(t, s, changes[:n], nil, make([]error, n)...)
		changes = changes[n:]
	}
	got := []string{}
	err := from.Each(t.Context(), "p.", func(w store.Write) error {
		if len(got) == 0 { // what is written from now on is of another view
			mustCommit(t, s, []store.Change{change(set("p.000x", "v", 0)), change(set("p.999", "v", 0)),
				change(store.Write{Key: "p.150", Blind: true, Delete: true}), change(store.Write{Key: "p.299", Blind: true, Value: []byte("new")})}, nil, nil, nil, nil, nil)
		}
		if len(got)%2 == 1 && w.ExpiresAt < ends || len(got)%2 == 0 && w.ExpiresAt != 0 || !w.Blind || w.Delete || w.Expect != 0 {
			t.Errorf("%+v", w)
		}
		got = append(got, fmt.Sprintf("%s=%s", w.Key, w.Value))
		for i := range w.Value { // fn owns it
			w.Value[i] = 'x'
		}
		return nil
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	all := 0
	if err := from.Each(t.Context(), "", func(store.Write) error { all++; return nil }); err != nil || all != 304 {
		t.Errorf("%d records, %v; want 304", all, err)
	}
	stop := errors.New("enough")
	if err := from.Each(t.Context(), "p", func(store.Write) error { return stop }); err != stop { //nolint:errorlint // to the letter
		t.Errorf("the callback's error is returned as %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	if err := from.Each(cancelled, "", func(store.Write) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in between: %v", err)
	}
}
