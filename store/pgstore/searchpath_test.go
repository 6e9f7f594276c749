package pgstore_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenbroker/store/pgstore"
)

// TestFunctionsOfOtherRolesAreNotCalled has functions and an operator in the schema public, which match better than those of PostgreSQL if
// the search path has it. Any role could create them before PostgreSQL 15. Each one notes who called it.
func TestFunctionsOfOtherRolesAreNotCalled(t *testing.T) {
	owner := empty(t)
	owner.URL = shared.Cluster(t).Database(t)
	conn, err := pgx.Connect(t.Context(), owner.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	name := fmt.Sprint("broker", time.Now().UnixNano())
	const traps = `
		CREATE SEQUENCE public.called;
		GRANT ALL ON SEQUENCE public.called TO PUBLIC;
		CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE sql AS $$ SELECT pg_catalog.nextval('public.called'::regclass) $$;
		CREATE FUNCTION public.nextval(text) RETURNS bigint LANGUAGE sql AS $$ SELECT pg_catalog.nextval('public.called'::regclass) + 1000 $$;
		CREATE FUNCTION public.array_position(bigint[], integer) RETURNS integer LANGUAGE sql AS $$ SELECT pg_catalog.nextval('public.called'::regclass)::integer $$;
		CREATE FUNCTION public.cardinality(bytea[]) RETURNS integer LANGUAGE sql AS $$ SELECT pg_catalog.nextval('public.called'::regclass)::integer $$;
		CREATE FUNCTION public.trap(numeric, integer) RETURNS numeric LANGUAGE sql AS $$ SELECT $1 OPERATOR(pg_catalog.*) ($2::numeric + 0 * pg_catalog.nextval('public.called'::regclass)) $$;
		CREATE FUNCTION public.pg_has_role(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT pg_catalog.nextval('public.called'::regclass) > 0 $$;
		CREATE FUNCTION public.pg_total_relation_size(oid) RETURNS bigint LANGUAGE sql AS $$ SELECT pg_catalog.nextval('public.called'::regclass) $$;
		CREATE OPERATOR public.* (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.trap);`
	if _, err := conn.Exec(t.Context(), "CREATE ROLE "+name+" LOGIN; "+traps); err != nil {
		t.Fatal(err)
	}
	called := func(doing string) {
		t.Helper()
		var was bool
		if err := conn.QueryRow(t.Context(), "SELECT is_called FROM public.called").Scan(&was); err != nil {
			t.Fatal(err)
		}
		if was {
			t.Errorf("%s called a function of the schema public", doing)
		}
		if _, err := conn.Exec(t.Context(), "ALTER SEQUENCE public.called RESTART"); err != nil {
			t.Fatal(err)
		}
	}
	if err := pgstore.Init(t.Context(), owner, name); err != nil {
		t.Fatal(err)
	}
	called("Init")
	broker := owner
	u, err := url.Parse(owner.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(name)
	broker.URL = u.String()
	s := open(t, broker)
	called("Open")
	f := &fenced{Store: s, key: "origin.a"}
	if err := f.commit(t.Context(), nil, put("k", "v", 0))[0]; err != nil {
		t.Fatal(err)
	}
	called("a commit")
	value(t, s, "k")
	called("a read")
	if _, err := s.List(t.Context(), "", "", 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	called("List or Health")
}
