package doctor_test

import (
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/doctor"
	"tokenbroker/store/pgstore"
)

// TestTheDatabaseIsJudged checks the findings about the primary and the standbys that the running broker reports.
func TestTheDatabaseIsJudged(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*admin.PostgresStatus)
		check  string
		level  doctor.Level // "" for no finding
		detail string
	}{
		"a good primary":                     {func(*admin.PostgresStatus) {}, "postgres", doctor.OK, "db-1:5432, version 15.18, durability synchronous"},
		"one that does not answer":           {func(s *admin.PostgresStatus) { *s = admin.PostgresStatus{Detail: "connection refused"} }, "postgres", doctor.Fail, "FAILED: connection refused"},
		"a good standby":                     {func(*admin.PostgresStatus) {}, "postgres standby", doctor.OK, "db-2, streaming, sync, lag 2.0 KiB, 1.5ms"},
		"a slow one":                         {func(s *admin.PostgresStatus) { s.Standbys[0].LagSeconds = 2 }, "postgres standby", doctor.Warn, "lag 2.0 KiB, 2s"},
		"a slow one that is not waited for":  {func(s *admin.PostgresStatus) { s.Standbys[0].LagSeconds, s.Standbys[0].Sync = 2, "potential" }, "postgres standby", doctor.Fail, "none is connected"},
		"no standby":                         {func(s *admin.PostgresStatus) { s.Standbys = nil }, "postgres standby", doctor.Fail, "none is connected"},
		"one of a quorum":                    {func(s *admin.PostgresStatus) { s.Standbys[0].Sync = "quorum" }, "postgres standby", doctor.OK, "quorum"},
		"no standby, which is accepted":      {func(s *admin.PostgresStatus) { s.Standbys, s.Durability = nil, "local" }, "postgres standby", "", ""},
		"standbys that the role may not see": {func(s *admin.PostgresStatus) { s.Standbys, s.Visible = nil, false }, "postgres standby", doctor.Skip, "may not see"},
		"few dead rows":                      {func(s *admin.PostgresStatus) { s.LiveRows, s.DeadRows = 10, 1000 }, "postgres vacuum", "", ""},
		"many dead rows":                     {func(s *admin.PostgresStatus) { s.LiveRows, s.DeadRows = 150_000, 200_000 }, "postgres vacuum", doctor.Warn, "200000 dead rows"},
		"an old transaction":                 {func(s *admin.PostgresStatus) { s.OldestTransactionSeconds = 700 }, "postgres transactions", doctor.Warn, "11m40s"},
	} {
		t.Run(name, func(t *testing.T) {
			found := look(t, func(_ *world, s *doctor.Subject) {
				db := &admin.PostgresStatus{
					OK: true, Host: "db-1:5432", Version: "15.18", Durability: "synchronous", Visible: true,
					Standbys: []admin.StandbyStatus{{Name: "db-2", State: "streaming", Sync: "sync", LagBytes: 2048, LagSeconds: 0.0015}},
				}
				tt.change(db)
				s.Status.Store.Postgres, s.Status.Cluster = db, &admin.ClusterStatus{}
			})
			if f := found[tt.check]; f.Level != tt.level || !strings.Contains(f.Detail, tt.detail) || f.Level != "" && (f.Level != doctor.OK) != (f.Hint != "") {
				t.Errorf("%+v, want %s with %q", f, tt.level, tt.detail)
			}
			if _, checked := found["fsync"]; checked {
				t.Error("the disk of the data directory was measured, which does not have the store")
			}
		})
	}
}

// TestADatabaseThatDoesNotAnswerIsAFailure checks the connection that doctor makes itself.
func TestADatabaseThatDoesNotAnswerIsAFailure(t *testing.T) {
	found := look(t, func(_ *world, s *doctor.Subject) {
		s.Postgres = &pgstore.Config{URL: "postgres://u@127.0.0.1:1/db?sslmode=disable", Password: "a-secret-of-the-test"}
		s.Status = nil
	})
	if _, checked := found["fsync"]; checked {
		t.Error("the disk of the data directory was measured, which does not have the store")
	}
	if f := found["postgres"]; f.Level != doctor.Fail || f.Hint == "" || strings.Contains(f.Detail, "a-secret") {
		t.Errorf("%+v", f)
	}
}
