package printer

import (
	"fmt"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Postgres returns one line for the primary of a PostgreSQL database, without the connections of the broker.
func Postgres(s admin.PostgresStatus) string {
	if !s.OK {
		return "FAILED: " + terminal.Cell(s.Detail)
	}
	return fmt.Sprintf("%s, version %s, durability %s, %.1f MiB", terminal.Cell(s.Host), terminal.Cell(s.Version), terminal.Cell(s.Durability), float64(s.TableBytes)/(1<<20))
}

// Standby returns one line for a standby.
func Standby(s admin.StandbyStatus) string {
	return fmt.Sprintf("%s, %s, %s, lag %.1f KiB, %s", terminal.Cell(s.Name), terminal.Cell(s.State), terminal.Cell(s.Sync),
		float64(s.LagBytes)/(1<<10), time.Duration(s.LagSeconds*float64(time.Second)).Round(100*time.Microsecond))
}

// postgres returns the rows of a database and its standbys.
func postgres(s *admin.PostgresStatus) [][]string {
	if s == nil {
		return nil
	}
	text := Postgres(*s)
	if s.OK {
		text += fmt.Sprintf(", %d of %d connections in use", s.Connections.InUse, s.Connections.Max) +
			when(s.Connections.Abandoned > 0, fmt.Sprintf(", %d ABANDONED", s.Connections.Abandoned), "") + when(s.Notifications, "", ", without notifications")
	}
	rows := [][]string{{"postgres", text}}
	for _, standby := range s.Standbys {
		rows = append(rows, []string{"standby", Standby(standby)})
	}
	switch {
	case !s.OK:
	case !s.Replicated():
		rows = append(rows, []string{"standby", "NONE IS CONNECTED: commits wait for one"})
	case !s.Visible:
		rows = append(rows, []string{"standby", "not known: the broker's role may not see standbys (GRANT pg_read_all_stats)"})
	}
	return rows
}
