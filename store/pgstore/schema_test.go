package pgstore_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/pgstore"
)

// user returns config with another role in the URL, which may only log in, with settings such as "synchronous_commit = off".
func user(t *testing.T, config pgstore.Config, settings ...string) (pgstore.Config, string) {
	t.Helper()
	role := config.Schema + "_role"
	operator := startSession(t, pgstore.Config{URL: config.URL, Schema: "pg_catalog"})
	operator.exec("CREATE ROLE " + role + " LOGIN")
	for _, s := range settings {
		operator.exec("ALTER ROLE " + role + " SET " + s)
	}
	config.URL = strings.Replace(config.URL, "tokenbroker@", role+"@", 1)
	return config, role
}

func wantOpen(t *testing.T, config pgstore.Config, want error, texts ...string) {
	t.Helper()
	s, err := pgstore.Open(t.Context(), config)
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("opened with %v, want %v", err, want)
	}
	if want != nil {
		wantText(t, err, texts...)
	}
}

func TestOpenNeedsTheSchema(t *testing.T) {
	t.Parallel()
	config := empty(t)
	wantOpen(t, config, pgstore.ErrNoSchema, "tokenbroker store init")
	if _, _, err := pgstore.MigrateSchema(t.Context(), config); !errors.Is(err, pgstore.ErrNoSchema) {
		t.Errorf("upgraded what does not exist: %v", err)
	}
	// Calls at the same time, and again.
	var calls sync.WaitGroup
	for range 6 {
		calls.Go(func() {
			if err := pgstore.Init(t.Context(), config, ""); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	initialize(t, config)
	wantOpen(t, config, nil)
	if from, to, err := pgstore.MigrateSchema(t.Context(), config); from != pgstore.SchemaVersion || to != from || err != nil {
		t.Errorf("upgraded from %d to %d, %v", from, to, err)
	}
	operator := startSession(t, config)
	operator.exec("UPDATE meta SET version = version + 1")
	wantOpen(t, config, nil) // which this program can use
	if from, to, err := pgstore.MigrateSchema(t.Context(), config); from != pgstore.SchemaVersion+1 || to != from || err != nil {
		t.Errorf("upgraded from %d to %d, %v", from, to, err)
	}
	operator.exec("UPDATE meta SET compatible = version")
	wantOpen(t, config, pgstore.ErrNewSchema, "version 2", "run a newer version")
}

// TestMigrateSchema upgrades the frozen schema of version 1 by a step that a later version could have.
func TestMigrateSchema(t *testing.T) {
	frozen, err := os.ReadFile("testdata/schema-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	current, err := os.ReadFile("sql/1.sql")
	if err != nil {
		t.Fatal(err)
	}
	if string(frozen) != string(current) {
		t.Fatal("sql/1.sql has changed: databases have the schema of testdata/schema-1.sql, which a new step has to upgrade")
	}
	config := empty(t)
	operator := startSession(t, config)
	operator.exec("CREATE SCHEMA " + config.Schema)
	operator.exec(strings.ReplaceAll(string(frozen), `"tokenbroker"`, config.Schema))
	s := open(t, config)
	commit := func(key string) {
		t.Helper()
		if _, errs := s.CommitFenced(t.Context(), store.Fence{}, []store.Change{put(key, "v", 0)}, nil); errs[0] != nil {
			t.Fatal(errs)
		}
	}
	commit("before")
	defer pgstore.WithStep(`ALTER TABLE "tokenbroker".records ADD COLUMN more text; UPDATE "tokenbroker".meta SET version = 2`)()
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			if _, to, err := pgstore.MigrateSchema(t.Context(), config); to != 2 || err != nil {
				t.Errorf("upgraded to %d, %v", to, err)
			}
		})
	}
	calls.Wait()
	commit("after")
	if value(t, s, "before") != "v" || value(t, open(t, config), "after") != "v" {
		t.Error("records were lost")
	}
	if n := operator.number("SELECT version FROM meta"); n != 2 {
		t.Errorf("the schema has version %d", n)
	}
	// A step that fails leaves the schema as it is.
	defer pgstore.WithStep(`CREATE TABLE "tokenbroker".half (); SELECT 1/0`)()
	if _, _, err := pgstore.MigrateSchema(t.Context(), config); err == nil || operator.number("SELECT version FROM meta") != 2 ||
		operator.number("SELECT count(*) FROM pg_tables WHERE tablename = 'half'") != 0 {
		t.Errorf("a step that fails: %v", err)
	}
}

// TestOldSchema: a program refuses the schema of an older one. Init does not upgrade it.
func TestOldSchema(t *testing.T) {
	config := config(t)
	startSession(t, config).exec("UPDATE meta SET version = 0")
	wantOpen(t, config, pgstore.ErrNoSchema)
	startSession(t, config).exec("UPDATE meta SET version = -1")
	wantOpen(t, config, pgstore.ErrOldSchema, "tokenbroker store migrate-schema")
	if err := pgstore.Init(t.Context(), config, ""); !errors.Is(err, pgstore.ErrOldSchema) {
		t.Errorf("initialized: %v", err)
	}
}

// TestLeastPrivileges: the role that Init grants rights to can use the store, and nothing else.
func TestLeastPrivileges(t *testing.T) {
	t.Parallel()
	config := config(t)
	limited, role := user(t, config)
	wantOpen(t, limited, pgstore.ErrSettings, "has no right", "--role")
	if err := pgstore.Init(t.Context(), config, role); err != nil {
		t.Fatal(err)
	}
	s := open(t, limited)
	f := fenced{Store: s, key: "origin.a"}
	gone := store.Change{Writes: []store.Write{{Key: "gone", Value: []byte("v"), ExpiresAt: time.Now().Unix() - 10}}}
	if errs := f.commit(t.Context(), sealTo("batch", "b"), withEvent(put("a", "v", 0)), gone); errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	expired, _, err := s.Expired(t.Context(), time.Now().Unix(), "", 10)
	if err != nil || len(expired) != 1 {
		t.Fatalf("expired: %v, %v", expired, err)
	}
	swept := store.Change{Writes: []store.Write{{Key: "gone", Delete: true, Expect: expired[0].Revision}}}
	if errs := f.commit(t.Context(), nil, swept, blind("a", "w")); errs[0] != nil || errs[1] != nil {
		t.Error(errs)
	}
	all := 0
	if err := s.Each(t.Context(), "", func(store.Write) error { all++; return nil }); err != nil || all != 3 {
		t.Errorf("%d records, %v", all, err)
	}
	if err := s.Confirm(t.Context()); err != nil {
		t.Error(err)
	}
	if h, err := s.Health(t.Context()); err != nil || h.Visible || h.TableBytes == 0 || h.Durability != "synchronous" || h.Version == "" {
		t.Errorf("%+v, %v", h, err)
	}
	as := startSession(t, pgstore.Config{URL: limited.URL, Schema: config.Schema})
	for _, sql := range []string{
		"CREATE TABLE more ()", "ALTER TABLE records ADD COLUMN more text", "DROP TABLE records", "TRUNCATE records", "UPDATE meta SET version = 7",
		"DELETE FROM meta", "CREATE OR REPLACE FUNCTION check_v1(server bigint) RETURNS boolean LANGUAGE sql RETURN true", "SELECT setval('revisions', 1)",
		"CREATE SCHEMA other", "DELETE FROM touches",
	} {
		if _, err := as.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	err = pgstore.Init(t.Context(), pgstore.Config{URL: limited.URL, Schema: config.Schema + "_b"}, "")
	wantText(t, err, "permission denied")
	// Nobody else has rights.
	other := config
	other.Schema += "_other"
	other, _ = user(t, other)
	other.Schema = config.Schema
	wantOpen(t, other, pgstore.ErrSettings)
	startSession(t, config).exec(fmt.Sprintf("REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM %s", config.Schema, role))
}

// TestACommitSetsItsDurability: a commit waits for the standby, and would report by a warning that it has not, whatever the session has
// set since it was checked, as another client of a pooler may.
func TestACommitSetsItsDurability(t *testing.T) {
	t.Parallel()
	operator := startSession(t, config(t))
	for _, call := range []string{
		"commit_v1(%d, false, 0, 'fence', 0, '', '', false, '{}', '{}', '{}', '{}', '{}')", "confirm_v1(%d, false, 0)",
	} {
		server := operator.number("SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint")
		operator.exec("BEGIN; SET synchronous_commit = off; SET client_min_messages = error")
		operator.exec("SELECT " + fmt.Sprintf(call, server))
		if n := operator.number("SELECT count(*) FROM pg_settings WHERE (name, setting) IN (('synchronous_commit', 'on'), ('client_min_messages', 'warning'))"); n != 2 {
			t.Errorf("%s leaves %d of 2 settings at the end of the transaction", call, n)
		}
		operator.exec("ROLLBACK")
	}
}
