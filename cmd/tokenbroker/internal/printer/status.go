package printer

import (
	"cmp"
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
		{"data", terminal.Cell(s.DataDir) + when(s.Cluster == nil, fmt.Sprintf(" (%.1f GiB free)", float64(s.Store.FreeBytes)/(1<<30)), "")},
		{"store", terminal.Cell(s.Store.ID) + when(s.Store.Engine == "" || s.Store.Engine == "badger", "", ", on "+terminal.Cell(s.Store.Engine)) + when(s.Store.Version > 0, fmt.Sprintf(", version %d", s.Store.Version), "") + when(s.Store.Writable, ", writable", ", REFUSES WRITES")},
		{"ledger", fmt.Sprintf("origin %s, head %d, %s", terminal.Cell(s.Ledger.Origin), s.Ledger.Head, backlog(s.Ledger))},
		{"nats", terminal.Cell(s.NATS.URL) + when(s.NATS.Embedded, ", embedded", "") + when(s.NATS.Connected, ", connected", ", NOT CONNECTED")},
	}
	for _, m := range s.Store.Members {
		rows = append(rows, []string{"etcd", Member(m)})
	}
	rows = append(rows, postgres(s.Store.Postgres)...)
	if s.Cluster != nil {
		rows = append(rows, brokers(*s.Cluster, s.Ledger.Origin, s.Store.Version)...)
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
	services(w, s.Services, s.Cluster != nil)
}

// Member returns one line for a member of an etcd cluster.
func Member(m admin.EngineMember) string {
	if !m.OK {
		return terminal.Cell(m.Endpoint) + ", FAILED: " + terminal.Cell(m.Detail)
	}
	text := fmt.Sprintf("%s, version %s, %.1f MiB", terminal.Cell(m.Endpoint), terminal.Cell(m.Version), float64(m.SizeBytes)/(1<<20))
	if m.QuotaBytes > 0 {
		text += fmt.Sprintf(" of %.0f MiB", float64(m.QuotaBytes)/(1<<20))
	}
	text += when(m.Leader, ", leader", "")
	if len(m.Alarms) > 0 {
		text += ", ALARM: " + terminal.Cells(m.Alarms)
	}
	return text
}

// Mixed returns a text about the live brokers if they are not all of the same program, otherwise "". The store has that version.
func Mixed(c admin.ClusterStatus, version int) string {
	programs, highest := map[string]bool{}, 0
	for _, b := range c.Brokers {
		if b.Live {
			programs[terminal.Cell(b.Version)] = true
			highest = max(highest, b.Speaks[1])
		}
	}
	if len(programs) < 2 {
		return ""
	}
	text := "brokers of different versions run: " + strings.Join(slices.Sorted(maps.Keys(programs)), " and ")
	if version > 0 && version < highest {
		text += fmt.Sprintf("; the store remains at version %d until all of them can use %d", version, highest)
	}
	return text
}

// speaks returns the versions of the store that a broker can use, "" for those of earlier programs.
func speaks(versions [2]int) string {
	switch {
	case versions[1] == 0:
		return ""
	case versions[0] == versions[1]:
		return fmt.Sprintf(", speaks %d", versions[0])
	}
	return fmt.Sprintf(", speaks %d to %d", versions[0], versions[1])
}

// brokers returns the rows of the brokers that share the store, with warnings about programs that differ and services that cannot
// follow the brokers.
func brokers(c admin.ClusterStatus, own string, version int) [][]string {
	var rows [][]string
	for _, b := range c.Brokers {
		clock := ""
		if b.ClockOffsetMS != nil {
			clock = fmt.Sprintf(", clock %+.3f s", (time.Duration(*b.ClockOffsetMS) * time.Millisecond).Seconds())
		}
		engine := ""
		if b.EngineMS > 0 {
			engine = fmt.Sprintf(", engine %.1f ms", b.EngineMS)
		}
		rows = append(rows, []string{"broker", terminal.Cell(b.Name) + " " + terminal.Cell(b.Address) + " " + terminal.Cell(b.Version) + speaks(b.Speaks) + ", origin " + terminal.Cell(b.Origin) +
			when(b.Live, ", running since ", ", ENDED, began ") + terminal.Stamp(b.Since) + clock + engine + when(b.Collector, ", collects", "") + when(b.Origin == own, ", this one", "")})
	}
	if text := Mixed(c, version); text != "" {
		rows = append(rows, []string{"WARNING", text + ": complete the upgrade"})
	}
	if len(c.OutdatedServices) > 0 {
		rows = append(rows, []string{"WARNING", "services that do not understand several brokers, update them: " + terminal.Cells(c.OutdatedServices)})
	}
	return rows
}

// connections returns the text after the listener's address, or "" for an older server, which does not report it.
func connections(c admin.ConnectionsStatus) string {
	if c.Max == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of %d connections", c.Open, c.Max) + when(c.OpenFilesWanted > 0, "; LIMITED BY OPEN FILES", "") + ")"
}

// services prints a table of services after a blank line. For several brokers it names the one that each service hears.
func services(w io.Writer, heard []admin.ServiceStatus, several bool) {
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
		if several {
			rows[i] = append(rows[i], terminal.Cell(cmp.Or(s.SpeakerName, s.Speaker, "?")))
		}
	}
	_, _ = fmt.Fprintln(w)
	terminal.Table(w, "SERVICE|SOURCE|STATE|LAG|LAST HEARD"+when(several, "|HEARS", ""), rows)
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
