package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func sessionsCommand(o *options) *cobra.Command {
	return o.flags(terminal.Group("sessions", "List and end sessions",
		"List and end the sessions of a running server."+serverHelp,
		sessionsListCommand(o), sessionsEndCommand(o)))
}

func sessionsListCommand(o *options) *cobra.Command {
	var query operator.SessionQuery
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List sessions of one user or of all",
		Long:    "List the live sessions of one user or of all users; with --ended also those that have ended." + serverHelp,
		Example: "  tokenbroker sessions list --user ada --ended",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				unreadable := 0
				sessions, next, err := collect(limit, func(after string, limit int) ([]operator.SessionSummary, string, error) {
					q := query
					q.After, q.Limit = after, limit
					page, err := client.ListSessions(ctx, q)
					unreadable += page.Unreadable
					return page.Sessions, page.Next, err
				})
				if err != nil {
					return fmt.Errorf("listing sessions: %w", err)
				}
				o.noteIncomplete(next, unreadable)
				return o.emit(operator.SessionPage{Sessions: sessions, Next: next, Unreadable: unreadable}, func(w io.Writer) { printer.Sessions(w, sessions) })
			})
		},
	}
	cmd.Flags().StringVar(&query.User, "user", "", "only this user's: a uid or a local user name")
	cmd.Flags().BoolVar(&query.Ended, "ended", false, "also list those that have ended")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return cmd
}

func sessionsEndCommand(o *options) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:     "end SID",
		Short:   "End one session and its tokens everywhere",
		Long:    "End one session: it can no longer be refreshed, and every service refuses its tokens at once." + serverHelp,
		Example: `  tokenbroker sessions end zwkq3fbn2v6c4o5yqhd7xj2mte --note "lost phone"`,
		Args:    terminal.WantArgs("SID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.EndSession(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("ending the session: %w", err)
				}
				return o.emitRevoked(done, "ended the session "+terminal.Plain(args[0]))
			})
		},
	}
	noteFlag(cmd, &note)
	o.addWait(cmd)
	return cmd
}
