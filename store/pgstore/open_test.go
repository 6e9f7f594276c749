package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
)

// TestOpenChecksTheSettings of the role that could make a commit less durable.
func TestOpenChecksTheSettings(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]error{
		"synchronous_commit = off": pgstore.ErrNotReplicated, "synchronous_commit = local": pgstore.ErrNotReplicated,
		"synchronous_commit = remote_write": pgstore.ErrNotReplicated, "synchronous_commit = remote_apply": nil,
		"default_transaction_read_only = on": pgstore.ErrStandby, "statement_timeout = 2000": nil, "lock_timeout = 1": nil,
		"default_transaction_isolation = serializable": nil, "idle_in_transaction_session_timeout = 1": nil,
		"bytea_output = escape": nil, "search_path = nothing": nil,
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			config := config(t)
			config.TryFor = time.Second
			limited, role := user(t, config, setting)
			if err := pgstore.Init(t.Context(), config, role); err != nil {
				t.Fatal(err)
			}
			wantOpen(t, limited, want, strings.SplitN(setting, " ", 2)[0][:4])
		})
	}
}

func TestOpenRefusesAStandby(t *testing.T) {
	t.Parallel()
	config := config(t)
	config.TryFor = time.Second
	config.URL = only(t, config.URL, shared.Cluster(t).Standby().Addr())
	wantOpen(t, config, pgstore.ErrStandby, "the URL has to name the primary, or all servers")
	// With both servers the order does not matter.
	config.URL = only(t, config.URL, shared.Cluster(t).Standby().Addr()+","+shared.Cluster(t).Primary().Addr())
	s := open(t, config)
	if h, err := s.Health(t.Context()); err != nil || h.Host != shared.Cluster(t).Primary().Addr() || !h.Visible || len(h.Standbys) != 1 || h.Standbys[0].Sync != "sync" {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestLocalDurability: a server without a standby is refused unless the configuration accepts it, one without fsync always.
func TestLocalDurability(t *testing.T) {
	t.Parallel()
	for fsync, want := range map[string]error{"on": nil, "off": pgstore.ErrNotReplicated} {
		t.Run("fsync "+fsync, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Single(), pgtest.Setting("fsync", fsync))
			config := pgstore.Config{URL: server.URL(), TryFor: time.Second}
			wantOpen(t, config, pgstore.ErrNotReplicated)
			config.LocalDurability = true
			err := pgstore.Init(t.Context(), config, "")
			if !errors.Is(err, want) {
				t.Errorf("initialized: %v", err)
			}
			if want != nil {
				return
			}
			s := open(t, config)
			if _, errs := s.CommitFenced(t.Context(), store.Fence{}, []store.Change{put("a", "v", 0)}, nil); errs[0] != nil {
				t.Error(errs)
			}
			if h, err := s.Health(t.Context()); err != nil || h.Durability != "local" {
				t.Errorf("%+v, %v", h, err)
			}
			// A broker that needs a standby checks that with each write.
			server.Primary().SQL(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'x'")
			server.Primary().SQL(t, "postgres", "SELECT pg_reload_conf()")
			strict := config
			strict.LocalDurability = false
			eventually(t, "a standby is waited for", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				opened, err := pgstore.Open(ctx, strict)
				if err == nil {
					_ = opened.Close()
				}
				return err != nil && !errors.Is(err, pgstore.ErrNotReplicated)
			})
		})
	}
}

func TestOpenChecksTheVersion(t *testing.T) {
	for number, want := range map[string]error{"130014": pgstore.ErrVersion, "90624": pgstore.ErrVersion, "": pgstore.ErrVersion, "140000": nil, "180001": nil} {
		if err := pgstore.AcceptVersion(number); !errors.Is(err, want) {
			t.Errorf("version %q: %v", number, err)
		}
	}
}

// TestOpenThroughAPooler: the settings of the server's sessions are checked, because they cannot be changed.
func TestOpenThroughAPooler(t *testing.T) {
	t.Parallel()
	c := shared.Cluster(t)
	database := c.Database(t)
	config := pgstore.Config{URL: c.Bouncer(t, database), TryFor: 5 * time.Second}
	initialize(t, config)
	s := open(t, config)
	f := fenced{Store: s, key: "origin.a"}
	if errs := f.commit(t.Context(), sealTo("batch", "b"), withEvent(put("a", "v", 0))); errs[0] != nil || value(t, s, "a") != "v" {
		t.Error(errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	<-s.Follow(ctx, "a") // by polling
	if s.Notified() {
		t.Error("notifications arrive through a pooler")
	}
	startSession(t, pgstore.Config{URL: database, Schema: "pg_catalog"}).exec("ALTER ROLE tokenbroker IN DATABASE " + filepath.Base(strings.SplitN(database, "?", 2)[0]) + " SET statement_timeout = '1min'")
	config.URL = c.Bouncer(t, database)
	wantOpen(t, config, pgstore.ErrSettings, "statement_timeout is 1min", "ALTER ROLE")
}

func TestOpenRefusesURLs(t *testing.T) {
	const good = "postgres://u@h:5432/db?sslmode=disable"
	for _, tt := range []struct{ url, want string }{
		{"", "not one such as"},
		{"host=h user=u", "not one such as"},
		{"mysql://u@h/db?sslmode=disable", "not one such as"},
		{"postgres://u:secret@h/db?sslmode=disable", "has a password"},
		{"postgres://u@h/db?sslmode=disable&password=secret", "has a password"},
		{"postgres://h/db?sslmode=disable", "needs a user"},
		{"postgres://u@/db?sslmode=disable", "needs a user"},
		{"postgres://u@h/?sslmode=disable", "needs a user"},
		{"postgres://u@h/db", "sslmode is \"\""},
		{"postgres://u@h/db?sslmode=prefer", "sslmode is \"prefer\""},
		{good + "&target_session_attrs=any", "only read-write"},
		{good + "&service=secret", "\"service\""},
		{good + "&options=-csynchronous_commit%3Doff", "\"options\""},
		{good + "&passfile=secret", "\"passfile\""},
		{good + "&sslmode=require", "repeated"},
		{good + "&host=secret", "\"host\""},
		{good + "&sslrootcert=/nonexistent", "nonexistent"},
	} {
		if strings.Contains(tt.url, "nonexistent") {
			tt.url = strings.Replace(tt.url, "disable", "verify-full", 1)
		}
		_, err := pgstore.Open(t.Context(), pgstore.Config{URL: tt.url, Password: "secret"})
		wantText(t, err, tt.want)
		if strings.Contains(strings.TrimSuffix(fmt.Sprint(err), "as a secret"), "secret") {
			t.Errorf("%s: the error has a secret: %v", tt.want, err)
		}
	}
	for _, config := range []pgstore.Config{{URL: good, Schema: "Upper"}, {URL: good, Schema: `a"b`}, {URL: good, Schema: "1a"}, {URL: good, MaxConnections: 1}} {
		if _, err := pgstore.Open(t.Context(), config); err == nil {
			t.Errorf("opened %+v", config)
		}
	}
}

// TestTheEnvironmentHasNoEffect on the connections.
func TestTheEnvironmentHasNoEffect(t *testing.T) {
	config := config(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	for file, text := range map[string]string{".pgpass": "*:*:*:*:wrong\n", ".pg_service.conf": "[s]\nhost=nowhere\n"} {
		if err := os.WriteFile(filepath.Join(home, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"PGHOST": "nowhere", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "nothing", "PGPASSWORD": "wrong", "PGPASSFILE": filepath.Join(home, ".pgpass"),
		"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nonexistent", "PGSSLCERT": "/nonexistent", "PGSSLKEY": "/nonexistent", "PGOPTIONS": "-c synchronous_commit=off",
		"PGAPPNAME": "other", "PGCONNECT_TIMEOUT": "x", "PGTARGETSESSIONATTRS": "standby", "PGTZ": "nowhere", "PGREQUIREAUTH": "gss", "PGCHANNELBINDING": "require",
		"PGSSLCERTMODE": "require", "PGSSLNEGOTIATION": "direct", "PGSERVICEFILE": filepath.Join(home, ".pg_service.conf"),
	} {
		t.Setenv(name, value)
	}
	wantOpen(t, config, nil)
	t.Setenv("PGSERVICE", "s")
	_, err := pgstore.Open(t.Context(), config)
	wantText(t, err, "PGSERVICE", "unset")
}

// TestOpenEnds: Open waits for a server until its context ends, and returns why there is none.
func TestOpenEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := pgstore.Open(ctx, pgstore.Config{URL: "postgres://u@127.0.0.1:1,127.0.0.1:2/db?sslmode=disable"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	wantText(t, err, "127.0.0.1:1", "127.0.0.1:2", "refused")
}
