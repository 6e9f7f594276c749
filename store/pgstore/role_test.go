package pgstore_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenbroker/store/pgstore"
)

// A role that Init names can read and commit, and cannot change the schema.
func TestInitGrantsARoleWhatItNeeds(t *testing.T) {
	owner := empty(t)
	conn, err := pgx.Connect(t.Context(), owner.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	name := "broker of " + owner.Schema + fmt.Sprint(time.Now().UnixNano())
	role := pgx.Identifier{name}.Sanitize()
	if _, err := conn.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN"); err != nil {
		t.Fatal(err)
	}
	if err := pgstore.Init(t.Context(), owner, name); err != nil {
		t.Fatal(err)
	}
	broker := owner
	u, err := url.Parse(owner.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(name)
	broker.URL = u.String()
	s := open(t, broker)
	if err := s.Confirm(t.Context()); err != nil {
		t.Errorf("a commit of the role: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "SET ROLE "+role); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE "+owner.Schema+".more (n int)"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("the role changes the schema: %v", err)
	}
}
