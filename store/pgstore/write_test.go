package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenbroker/store"
	"tokenbroker/store/pgstore"
)

// session is a session of an operator, who may hold locks.
type session struct {
	*pgx.Conn
	tb testing.TB
}

func startSession(tb testing.TB, config pgstore.Config) session {
	tb.Helper()
	c, err := pgx.Connect(tb.Context(), config.URL)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(context.Background()) })
	s := session{c, tb}
	s.exec("SET search_path = " + config.Schema)
	return s
}

func (s session) exec(sql string) {
	s.tb.Helper()
	if _, err := s.Exec(s.tb.Context(), sql); err != nil {
		s.tb.Fatalf("%s: %v", sql, err)
	}
}

func (s session) number(sql string) (n int) {
	s.tb.Helper()
	if err := s.QueryRow(s.tb.Context(), sql).Scan(&n); err != nil {
		s.tb.Fatalf("%s: %v", sql, err)
	}
	return n
}

// blocked returns the number of statements of a schema that wait for a lock.
func (s session) blocked(config pgstore.Config) int {
	s.tb.Helper()
	return s.number(fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%%q.%%'", config.Schema))
}

// TestStatementsAreNotCancelled: whatever ends on the client's side, a commit that was sent is written, and none is cancelled.
func TestStatementsAreNotCancelled(t *testing.T) {
	t.Parallel()
	config := config(t)
	p := startProxy(t, shared.Cluster(t).Primary().Addr())
	through := config
	through.URL, through.TryFor = only(t, config.URL, p.address), 2*time.Second
	s, direct := open(t, through), open(t, config)
	f := fenced{Store: s, key: "origin.a"}
	if errs := f.commit(t.Context(), nil, blind("k", "0")); errs[0] != nil {
		t.Fatal(errs)
	}
	operator := startSession(t, config)
	hold := func() func() {
		operator.exec("BEGIN; SELECT FROM records WHERE key = 'k' FOR UPDATE")
		return func() { operator.exec("COMMIT") }
	}
	// The context of a commit ends, and that of a read.
	release := hold()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan []error)
	go func() { ended <- f.commit(ctx, nil, blind("k", "1")) }()
	watch := startSession(t, config)
	eventually(t, "the commit waits", func() bool { return watch.blocked(config) == 1 })
	cancel()
	if errs := <-ended; !errors.Is(errs[0], store.ErrUncertain) {
		t.Errorf("a commit whose context ended: %v", errs)
	}
	release()
	eventually(t, "the commit is written", func() bool { return value(t, direct, "k") == "1" })
	operator.exec("BEGIN; LOCK TABLE records")
	reading, cancel := context.WithCancel(t.Context())
	read := make(chan error)
	go func() { _, err := s.Get(reading, "k"); read <- err }()
	eventually(t, "the read waits", func() bool { return watch.blocked(config) == 1 })
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Errorf("a read whose context ended: %v", err)
	}
	operator.exec("COMMIT")
	// The connection ends while a commit runs, and the store is closed.
	f.revision = 0
	if r, err := direct.Get(t.Context(), f.key); err == nil {
		f.revision = r.Revision
	}
	release = hold()
	go func() { ended <- f.commit(t.Context(), nil, blind("k", "2")) }()
	eventually(t, "the commit waits", func() bool { return watch.blocked(config) == 1 })
	p.cut()
	if errs := <-ended; !errors.Is(errs[0], store.ErrUncertain) {
		t.Errorf("a commit whose connection ended: %v", errs)
	}
	release()
	eventually(t, "the commit is written", func() bool { return value(t, direct, "k") == "2" })
	if r, err := direct.Get(t.Context(), f.key); err == nil {
		f.revision = r.Revision
	}
	release = hold()
	go func() { ended <- f.commit(t.Context(), nil, blind("k", "3")) }()
	eventually(t, "the commit waits", func() bool { return watch.blocked(config) == 1 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if errs := <-ended; !errors.Is(errs[0], store.ErrUncertain) {
		t.Errorf("a commit of a store that was closed: %v", errs)
	}
	release()
	eventually(t, "the commit is written", func() bool { return value(t, direct, "k") == "3" })
	p.set(func() {
		if p.cancels != 0 {
			t.Errorf("%d statements were cancelled", p.cancels)
		}
	})
}

// TestRevisionsRise: whatever creates, deletes and creates a key again at the same time, its revisions rise in the order of the writes.
func TestRevisionsRise(t *testing.T) {
	t.Parallel()
	config := config(t)
	operator := startSession(t, config)
	operator.exec(`CREATE TABLE history (id bigserial, key bytea, revision bigint);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF tg_op <> 'DELETE' THEN INSERT INTO ` + config.Schema + `.history (key, revision) VALUES (new.key, new.revision); END IF; RETURN NULL; END $$;
		CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON records FOR EACH ROW EXECUTE FUNCTION note()`)
	const writers, rounds, keys = 8, 60, 3
	var created atomic.Int64
	var all sync.WaitGroup
	for w := range writers {
		f := fenced{Store: open(t, config), key: fmt.Sprint("origin.", w)}
		all.Go(func() {
			for round := range rounds {
				// In different orders, and with two keys at once.
				a, b := fmt.Sprint("k", (w+round)%keys), fmt.Sprint("k", (w*round+1)%keys)
				changes := []store.Change{put(a, "v", 0), {Writes: []store.Write{{Key: b, Delete: true, Blind: true}, {Key: "z" + a, Delete: true, Blind: true}}}}
				changes[0].Writes[0].Blind = round%4 == 0
				if round%2 == 0 {
					changes[0], changes[1] = changes[1], changes[0]
				}
				for i, err := range f.commit(t.Context(), nil, changes...) {
					switch {
					case err == nil && changes[i].Writes[0].Key == a && !changes[i].Writes[0].Delete:
						created.Add(1)
					case err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrRetry):
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	if n := operator.number(`SELECT count(*) FROM (SELECT revision <= lag(revision) OVER (PARTITION BY key ORDER BY id) AS falls FROM history) h WHERE falls`); n != 0 {
		t.Errorf("%d writes have a revision that is not higher than the one before", n)
	}
	if n := operator.number(`SELECT count(*) FROM history WHERE key LIKE 'k%'`); int64(n) != created.Load() || n < writers*rounds/10 {
		t.Errorf("%d writes for %d acknowledged ones", n, created.Load())
	}
}

// TestADeadlockIsTriedAgain makes a commit the victim of a deadlock with a transaction of an operator.
func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	config := config(t)
	f := fenced{Store: open(t, config), key: "origin.a"}
	if errs := f.commit(t.Context(), nil, blind("a", "0"), blind("b", "0")); errs[0] != nil {
		t.Fatal(errs)
	}
	operator, watch := startSession(t, config), startSession(t, config)
	operator.exec("SET deadlock_timeout = '1min'")
	operator.exec("BEGIN; SELECT FROM records WHERE key = 'b' FOR UPDATE")
	ended := make(chan []error)
	go func() { ended <- f.commit(t.Context(), nil, blind("a", "1"), blind("b", "1")) }()
	eventually(t, "the commit waits", func() bool { return watch.blocked(config) == 1 })
	operator.exec("SELECT FROM records WHERE key = 'a' FOR UPDATE")
	operator.exec("COMMIT")
	if errs := <-ended; errs[0] != nil || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
	if n := watch.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"); n == 0 {
		t.Skip("the server has not counted the deadlock yet")
	}
}

// TestWritesThatHang: a few commits that do not end leave room for reads, and no more are sent until they end.
func TestWritesThatHang(t *testing.T) {
	t.Parallel()
	config := config(t)
	config.TryFor, config.MaxConnections = 300*time.Millisecond, 2
	s := open(t, config)
	patient := config
	patient.TryFor = time.Minute
	f := fenced{Store: open(t, patient), key: "origin.a"}
	if errs := f.commit(t.Context(), nil, blind("k", "0")); errs[0] != nil {
		t.Fatal(errs)
	}
	operator := startSession(t, config)
	operator.exec("BEGIN; SELECT FROM records WHERE key = 'k' FOR UPDATE")
	commit := func(i int) error {
		_, errs := s.CommitFenced(t.Context(), store.Fence{}, []store.Change{blind("k", fmt.Sprint(i))}, nil)
		return errs[0]
	}
	for i := range pgstore.MaxAbandoned {
		if err := commit(i); !errors.Is(err, store.ErrUncertain) {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
	for range 2 {
		if err := commit(100); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUncertain) {
			t.Errorf("one more commit: %v", err)
		}
	}
	if got := value(t, s, "k"); got != "0" {
		t.Errorf("read %q", got)
	}
	if h, err := s.Health(t.Context()); err != nil || h.Abandoned != pgstore.MaxAbandoned || h.Max != 2 {
		t.Errorf("%+v, %v", h, err)
	}
	operator.exec("COMMIT")
	eventually(t, "no commit hangs", func() bool { h, err := s.Health(t.Context()); return err == nil && h.Abandoned == 0 })
	got, err := strconv.Atoi(value(t, s, "k"))
	if err != nil || got < 0 || got >= pgstore.MaxAbandoned {
		t.Errorf("the record is %d, %v", got, err)
	}
	eventually(t, "commits are accepted", func() bool { return commit(200) == nil })
}

// TestLimits: what does not fit is refused before it is sent.
func TestLimits(t *testing.T) {
	t.Parallel()
	f := fenced{Store: open(t, config(t)), key: "origin.a"}
	many := func(prefix string, n int) (c store.Change) {
		for i := range n {
			c.Writes = append(c.Writes, blind(fmt.Sprint(prefix, i), "v").Writes...)
		}
		return c
	}
	if errs := f.commit(t.Context(), nil, many("a", pgstore.MaxWrites+1)); errs[0] == nil || errors.Is(errs[0], store.ErrTooBig) {
		t.Errorf("a change of too many writes: %v", errs)
	}
	if errs := f.commit(t.Context(), nil, many("a", pgstore.MaxWrites), blind("b", "v"), blind("c", "v")); errs[0] != nil || !errors.Is(errs[1], store.ErrTooBig) || !errors.Is(errs[2], store.ErrTooBig) {
		t.Errorf("a change of many writes and others: %v", errs)
	}
	large := blind("large", strings.Repeat("x", pgstore.MaxBytes-1000))
	if errs := f.commit(t.Context(), nil, large, blind("b", strings.Repeat("x", 2000))); errs[0] != nil || !errors.Is(errs[1], store.ErrTooBig) {
		t.Errorf("a large change and another: %v", errs)
	}
	if errs := f.commit(t.Context(), nil, blind("large", strings.Repeat("x", pgstore.MaxBytes))); errs[0] == nil || errors.Is(errs[0], store.ErrTooBig) {
		t.Errorf("a larger change: %v", errs)
	}
	writesFence := blind(f.key, "v")
	if errs := f.commit(t.Context(), nil, writesFence, blind("b", "v")); errs[0] == nil || errs[1] != nil {
		t.Errorf("a change that writes the fence's record: %v", errs)
	}
}

// TestSeals: a stale write of the seal refuses the changes with events and no others.
func TestSeals(t *testing.T) {
	t.Parallel()
	f := fenced{Store: open(t, config(t)), key: "origin.a"}
	if errs := f.commit(t.Context(), nil, blind("batch", "v")); errs[0] != nil {
		t.Fatal(errs)
	}
	errs := f.commit(t.Context(), sealTo("batch", "b"), withEvent(blind("a", "v")), blind("b", "v"))
	if errs[0] == nil || errors.Is(errs[0], store.ErrConflict) || errs[1] != nil || value(t, f, f.key) != "plain" {
		t.Errorf("a stale seal: %v", errs)
	}
	errs = f.commit(t.Context(), sealTo("c", "b"), withEvent(blind("a", "v")), blind("c", "v"))
	if errs[0] != nil || !errors.Is(errs[1], store.ErrRetry) || value(t, f, f.key) != "sealed" || value(t, f, "c") != "b" {
		t.Errorf("the seal and a change write one key: %v", errs)
	}
	errs = f.commit(t.Context(), sealTo("a", "b"), withEvent(blind("a", "v")))
	wantText(t, errs[0], "the same key")
}

// TestStatementsThatAreNotPrepared any more are sent as a whole, and nothing is uncertain.
func TestStatementsThatAreNotPrepared(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(s *pgstore.Store, f *fenced) error{
		"a read":   func(s *pgstore.Store, _ *fenced) error { _, err := s.GetMany(t.Context(), []string{"k"}); return err },
		"a commit": func(_ *pgstore.Store, f *fenced) error { return f.commit(t.Context(), nil, blind("k", "2"))[0] },
		"a view": func(s *pgstore.Store, _ *fenced) error {
			return s.Each(t.Context(), "", func(store.Write) error { return nil })
		},
	} {
		s := open(t, config(t))
		f := fenced{Store: s, key: "origin.a"}
		if errs := f.commit(t.Context(), nil, blind("k", "1")); errs[0] != nil || value(t, s, "k") != "1" {
			t.Fatal(errs)
		}
		if err := s.Each(t.Context(), "", func(store.Write) error { return nil }); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the view is released", func() bool { h, err := s.Health(t.Context()); return err == nil && h.InUse == 0 })
		if err := s.Deallocate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := first(s, &f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if errs := f.commit(t.Context(), nil, blind("k", "3")); errs[0] != nil || value(t, s, "k") != "3" {
			t.Errorf("a commit after %s: %v", name, errs)
		}
	}
}

// TestAnErrorWithoutACodeIsUncertain: PostgreSQL sends a code with every error, something in between may not.
func TestAnErrorWithoutACodeIsUncertain(t *testing.T) {
	t.Parallel()
	s := open(t, config(t))
	for _, code := range []string{"", "0"} {
		if read, write := s.Outcomes(t.Context(), code); read == nil || !errors.Is(write, store.ErrUncertain) {
			t.Errorf("code %q: reading: %v, writing: %v", code, read, write)
		}
	}
	if _, write := s.Outcomes(t.Context(), "22000"); write == nil || errors.Is(write, store.ErrUncertain) {
		t.Errorf("a code of PostgreSQL: %v", write)
	}
}
