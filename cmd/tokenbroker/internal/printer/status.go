package printer

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Status prints the state of a server and a table of the services that it hears.
func Status(w io.Writer, s admin.Status) {
	rows := [][]string{
		{"state", terminal.Cell(s.Ready)}, {"version", terminal.Cell(s.Version)}, {"pid", fmt.Sprint(s.PID)},
		{"started", fmt.Sprintf("%s (%s ago)", terminal.Stamp(s.StartedAt), s.Now.Sub(s.StartedAt).Round(time.Second))},
		{"issuer", terminal.Cell(s.Issuer)}, {"listen", terminal.Cell(s.Listen) + connections(s.Connections)}, {"admin", terminal.Cell(s.AdminListen)}, {"origins", terminal.Cells(s.Origins)},
		{"data", fmt.Sprintf("%s (%.1f GiB free)", terminal.Cell(s.DataDir), float64(s.Store.FreeBytes)/(1<<30))},
		{"store", terminal.Cell(s.Store.ID) + when(s.Store.Writable, ", writable", ", REFUSES WRITES")},
		{"ledger", fmt.Sprintf("origin %s, head %d, %s", terminal.Cell(s.Ledger.Origin), s.Ledger.Head, backlog(s.Ledger))},
		{"nats", terminal.Cell(s.NATS.URL) + when(s.NATS.Embedded, ", embedded", "") + when(s.NATS.Connected, ", connected", ", NOT CONNECTED")},
	}
	for _, p := range s.Providers {
		rows = append(rows, []string{"provider", terminal.Cell(p.Name) + " " + terminal.Cell(p.Issuer) + when(p.Ready, ", ready", ", not ready")})
	}
	for _, k := range s.Keys {
		rows = append(rows, []string{"key", strings.Join([]string{terminal.Cell(k.KID), terminal.Cell(k.Purpose), terminal.Cell(k.Algorithm), terminal.Cell(k.State)}, " ")})
	}
	for _, c := range s.Checks {
		rows = append(rows, []string{"check", CheckText(c)})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Mailboxes)) {
		rows = append(rows, []string{"mailbox", fmt.Sprintf("%s %d", terminal.Cell(name), s.Mailboxes[name])})
	}
	terminal.Table(w, "", rows)
	services(w, s.Services)
}

// connections returns the text after the listener's address, or "" for an older server, which does not report it.
func connections(c admin.ConnectionsStatus) string {
	if c.Max == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of %d connections", c.Open, c.Max) + when(c.OpenFilesWanted > 0, "; LIMITED BY OPEN FILES", "") + ")"
}

// services prints a table of services after a blank line.
func services(w io.Writer, heard []admin.ServiceStatus) {
	if len(heard) == 0 {
		_, _ = fmt.Fprintln(w, "\nno service was heard within a minute")
		return
	}
	rows := make([][]string, len(heard))
	for i, s := range heard {
		lag := "none"
		if s.Lag > 0 {
			lag = fmt.Sprintf("%d behind", s.Lag)
		}
		rows[i] = []string{
			terminal.Cell(s.Service), terminal.Cell(s.Source), when(s.State == "fresh", "fresh", strings.ToUpper(terminal.Cell(s.State))), lag,
			fmt.Sprintf("%.1f s ago", (time.Duration(s.HeardMS) * time.Millisecond).Seconds()),
		}
	}
	_, _ = fmt.Fprintln(w)
	terminal.Table(w, "SERVICE|SOURCE|STATE|LAG|LAST HEARD", rows)
}

func backlog(l admin.LedgerStatus) string {
	if l.Backlog == 0 {
		return "all broadcast"
	}
	return fmt.Sprintf("%d not yet broadcast, the oldest for %.1f s", l.Backlog, l.OldestSeconds)
}

// CheckText returns one line for a check of /readyz.
func CheckText(c httpapi.Check) string {
	text := terminal.Plain(c.Name) + ": " + when(c.OK, when(c.Degraded, "degraded", "ok"), "FAILED")
	if c.Detail != "" {
		text += " (" + terminal.Plain(c.Detail) + ")"
	}
	return text
}

func when(yes bool, then, otherwise string) string {
	if yes {
		return then
	}
	return otherwise
}
