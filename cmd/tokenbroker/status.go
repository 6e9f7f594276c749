package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/api"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
)

func statusCommand(o *operator) *cobra.Command {
	return o.flags(&cobra.Command{
		Use:   "status",
		Short: "Show a running server at a glance",
		Long: `Show a running server at a glance: version, readiness, store, revocations still to be sent,
NATS, keys, providers and the services. For a yes or no use healthcheck.` + serverHelp,
		Example: "  tokenbroker status --output json",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				status, err := client.Status(ctx)
				if err != nil {
					return fmt.Errorf("asking for the status: %w", err)
				}
				return o.emit(status, func(w io.Writer) { printStatus(w, status) })
			})
		},
	})
}

func printStatus(w io.Writer, s api.Status) {
	rows := [][]string{
		{"state", cell(s.Ready)}, {"version", cell(s.Version)}, {"pid", fmt.Sprint(s.PID)},
		{"started", fmt.Sprintf("%s (%s ago)", stamp(s.StartedAt), s.Now.Sub(s.StartedAt).Round(time.Second))},
		{"issuer", cell(s.Issuer)}, {"listen", cell(s.Listen) + connections(s.Connections)}, {"admin", cell(s.AdminListen)}, {"origins", cells(s.Origins)},
		{"data", fmt.Sprintf("%s (%.1f GiB free)", cell(s.DataDir), float64(s.Store.FreeBytes)/(1<<30))},
		{"store", cell(s.Store.ID) + when(s.Store.Writable, ", writable", ", REFUSES WRITES")},
		{"ledger", fmt.Sprintf("origin %s, head %d, %s", cell(s.Ledger.Origin), s.Ledger.Head, backlog(s.Ledger))},
		{"nats", cell(s.NATS.URL) + when(s.NATS.Embedded, ", embedded", "") + when(s.NATS.Connected, ", connected", ", NOT CONNECTED")},
	}
	for _, p := range s.Providers {
		rows = append(rows, []string{"provider", cell(p.Name) + " " + cell(p.Issuer) + when(p.Ready, ", ready", ", not ready")})
	}
	for _, k := range s.Keys {
		rows = append(rows, []string{"key", strings.Join([]string{cell(k.KID), cell(k.Purpose), cell(k.Algorithm), cell(k.State)}, " ")})
	}
	for _, c := range s.Checks {
		rows = append(rows, []string{"check", checkText(c)})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Mailboxes)) {
		rows = append(rows, []string{"mailbox", fmt.Sprintf("%s %d", cell(name), s.Mailboxes[name])})
	}
	table(w, "", rows)
	printServices(w, s.Services)
}

// connections is what follows the listener's address; an older server does not report it.
func connections(c api.ConnectionsStatus) string {
	if c.Max == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of %d connections", c.Open, c.Max) + when(c.OpenFilesWanted > 0, "; LIMITED BY OPEN FILES", "") + ")"
}

// printServices is a table of the services, after a blank line.
func printServices(w io.Writer, services []api.ServiceStatus) {
	if len(services) == 0 {
		_, _ = fmt.Fprintln(w, "\nno service was heard within a minute")
		return
	}
	rows := make([][]string, len(services))
	for i, s := range services {
		lag := "none"
		if s.Lag > 0 {
			lag = fmt.Sprintf("%d behind", s.Lag)
		}
		rows[i] = []string{
			cell(s.Service), cell(s.Source), when(s.State == "fresh", "fresh", strings.ToUpper(cell(s.State))), lag,
			fmt.Sprintf("%.1f s ago", (time.Duration(s.HeardMS) * time.Millisecond).Seconds()),
		}
	}
	_, _ = fmt.Fprintln(w)
	table(w, "SERVICE|SOURCE|STATE|LAG|LAST HEARD", rows)
}

func backlog(l api.LedgerStatus) string {
	if l.Backlog == 0 {
		return "all broadcast"
	}
	return fmt.Sprintf("%d still to be broadcast, the oldest for %.1f s", l.Backlog, l.OldestSeconds)
}

// checkText is one check in a line.
func checkText(c api.Check) string {
	text := adminclient.Plain(c.Name) + ": " + when(c.OK, when(c.Degraded, "degraded", "ok"), "FAILED")
	if c.Detail != "" {
		text += " (" + adminclient.Plain(c.Detail) + ")"
	}
	return text
}

func when(yes bool, then, otherwise string) string {
	if yes {
		return then
	}
	return otherwise
}
