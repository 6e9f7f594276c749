package faults_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/origins"
	"tokenbroker/store/pgstore/pgtest"
)

// TestAnOldPrimaryThatIsNotFenced lets one broker reach only a primary that was replaced, and the others the new one. Nothing
// that the old one returns is confirmed, also when an operator makes its waiting commits visible.
func TestAnOldPrimaryThatIsNotFenced(t *testing.T) {
	t.Parallel()
	c := newCluster(t, pgtest.Spare())
	old, next := c.Primary(), c.Standby()
	// By default the server says when a commit stops waiting for its standby.
	old.SQL(t, "postgres", "ALTER ROLE "+pgtest.User+" SET client_min_messages = 'error'")
	cutOff := open(t, config(at(t, c.database, old)))
	run, err := origins.Join(t.Context(), origins.Config{Engine: cutOff, Name: "cut off", KEK: "k"})
	if err != nil {
		t.Fatal(err)
	}
	put := func(ctx context.Context, key string) error {
		return run.Commit(ctx, []store.Change{{Writes: []store.Write{{Key: key, Value: []byte("old"), Blind: true}}}}, nil)[0]
	}
	if err := put(t.Context(), "other.0"); err != nil {
		t.Fatal(err)
	}
	next.Promote(t)
	c.database = at(t, c.database, next)
	l := c.load(t)
	l.more(t, "at the new primary")
	operations := map[string]func(ctx context.Context) error{
		"a read":   func(ctx context.Context) error { _, err := run.Get(ctx, "other.0"); return err },
		"a view":   func(ctx context.Context) error { _, err := run.View(ctx); return err },
		"a tick":   run.Tick,
		"a commit": func(ctx context.Context) error { return put(ctx, "other.1") },
		"a change of the fence": func(ctx context.Context) error {
			return run.Commit(ctx, []store.Change{{}}, nil)[0]
		},
		"another run": func(ctx context.Context) error {
			_, err := origins.Join(ctx, origins.Config{Engine: cutOff, Name: "another", KEK: "k"})
			return err
		},
		"a confirmation": cutOff.Confirm,
	}
	try := func(t *testing.T, name, operator string) {
		t.Run(strings.TrimSpace(name+" "+operator), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- operations[name](ctx) }()
			for {
				select {
				case err := <-done:
					if err == nil {
						t.Error("it was acknowledged")
					}
					return
				case <-time.After(10 * time.Millisecond):
					if operator != "" {
						old.SQL(t, "postgres", fmt.Sprintf("SELECT %s(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", operator))
					}
				}
			}
		})
	}
	for name := range operations {
		try(t, name, "")
		try(t, name, "pg_cancel_backend")
		try(t, name, "pg_terminate_backend")
	}
	old.Kill(t)
	old.Restart(t) // which makes all commits visible that waited
	for name := range operations {
		try(t, name, "")
	}
	l.more(t, "while the old primary is there")
	l.finish(t, open(t, config(c.database)))
}
