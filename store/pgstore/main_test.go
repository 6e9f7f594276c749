package pgstore_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenbroker/revocation"
	"tokenbroker/store"
	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
)

// shared is the primary and its standby of the tests that do not stop them. Each test has its own schema.
var (
	shared  pgtest.Shared
	schemas atomic.Int64
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests stops the servers before goroutines are looked for.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer shared.Close()
	return t.M.Run()
}

// empty returns the configuration of a schema that does not exist. The URL has only the primary.
func empty(tb testing.TB) pgstore.Config {
	tb.Helper()
	c := shared.Cluster(tb)
	return pgstore.Config{
		URL: only(tb, c.URL(), c.Primary().Addr()), Schema: fmt.Sprintf("test_%d", schemas.Add(1)), TryFor: 10 * time.Second,
	}
}

// config returns the configuration of an empty store.
func config(tb testing.TB) pgstore.Config {
	tb.Helper()
	c := empty(tb)
	initialize(tb, c)
	return c
}

func initialize(tb testing.TB, config pgstore.Config) {
	tb.Helper()
	if err := pgstore.Init(tb.Context(), config, ""); err != nil {
		tb.Fatal(err)
	}
}

// only returns a URL with one server at an address.
func only(tb testing.TB, databaseURL, address string) string {
	tb.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	u.Host = address
	return u.String()
}

func open(tb testing.TB, config pgstore.Config) *pgstore.Store {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	s, err := pgstore.Open(ctx, config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func put(key, value string, expect store.Revision) store.Change {
	return store.Change{Writes: []store.Write{{Key: key, Value: []byte(value), Expect: expect}}}
}

func blind(key, value string) store.Change {
	return store.Change{Writes: []store.Write{{Key: key, Value: []byte(value), Blind: true}}}
}

func withEvent(c store.Change) store.Change {
	c.Events = []revocation.Event{{Kind: revocation.KindSID, Value: "s", At: 1, ExpiresAt: 2}}
	return c
}

// fenced is a broker's run.
type fenced struct {
	*pgstore.Store
	key      string
	revision store.Revision
}

// commit commits under the fence and returns the result of each change.
func (f *fenced) commit(ctx context.Context, seal store.Seal, changes ...store.Change) []error {
	revision, errs := f.CommitFenced(ctx, store.Fence{Key: f.key, Expect: f.revision, Value: []byte("plain"), Sealed: []byte("sealed")}, changes, seal)
	if revision != 0 {
		f.revision = revision
	}
	return errs
}

func sealTo(key, value string) store.Seal {
	return func([]revocation.Event) ([]store.Write, error) {
		return []store.Write{{Key: key, Value: []byte(value)}}, nil
	}
}

func value(tb testing.TB, r store.Reader, key string) string {
	tb.Helper()
	record, err := r.Get(tb.Context(), key)
	if err != nil {
		tb.Fatalf("reading %s: %v", key, err)
	}
	return string(record.Value)
}

func wantText(tb testing.TB, err error, texts ...string) {
	tb.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			tb.Errorf("got %v, want an error with %q", err, text)
		}
	}
}

// eventually waits until ok returns true.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	tb.Fatalf("not within a minute: %s", what)
}

func contextFor(tb testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	tb.Helper()
	return context.WithTimeout(tb.Context(), d)
}
