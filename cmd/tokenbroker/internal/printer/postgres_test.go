package printer_test

import (
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/printer"
)

// TestStatusShowsTheDatabase checks what status prints about a PostgreSQL database.
func TestStatusShowsTheDatabase(t *testing.T) {
	good := admin.PostgresStatus{
		OK: true, Host: "db-1:5432", Version: "15.18", Durability: "synchronous", Visible: true, Notifications: true, TableBytes: 3 << 20,
		Standbys:    []admin.StandbyStatus{{Name: "db-2", State: "streaming", Sync: "sync", LagBytes: 512, LagSeconds: 0.0012}},
		Connections: admin.PoolStatus{InUse: 3, Max: 16},
	}
	const primary, standby = "db-1:5432, version 15.18, durability synchronous, 3.0 MiB, 3 of 16 connections in use", "db-2, streaming, sync, lag 0.5 KiB, 1.2ms"
	for name, tt := range map[string]struct {
		change func(*admin.PostgresStatus)
		want   []string // the ends of the lines about the database
	}{
		"a good one":                      {func(*admin.PostgresStatus) {}, []string{primary, standby}},
		"polling":                         {func(s *admin.PostgresStatus) { s.Notifications = false }, []string{primary + ", without notifications", standby}},
		"commits that are not waited for": {func(s *admin.PostgresStatus) { s.Connections.Abandoned = 2 }, []string{primary + ", 2 ABANDONED", standby}},
		"without standbys":                {func(s *admin.PostgresStatus) { s.Standbys = nil }, []string{primary, "NONE IS CONNECTED: commits wait for one"}},
		"without the right to see them": {func(s *admin.PostgresStatus) { s.Standbys, s.Visible = nil, false },
			[]string{primary, "not known: the broker's role may not see standbys (GRANT pg_read_all_stats)"}},
		"no answer": {func(s *admin.PostgresStatus) { *s = admin.PostgresStatus{Detail: "refused\x1b"} }, []string{`FAILED: "refused\x1b"`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			tt.change(&s)
			var out strings.Builder
			printer.Status(&out, admin.Status{Store: admin.StoreStatus{Engine: "postgres", Postgres: &s}})
			var lines []string
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "postgres ") || strings.HasPrefix(line, "standby ") {
					_, text, _ := strings.Cut(line, " ")
					lines = append(lines, strings.TrimSpace(text))
				}
			}
			if strings.Join(lines, "\n") != strings.Join(tt.want, "\n") || !strings.Contains(out.String(), ", on postgres") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}
