package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

func revocationsCommand(o *options) *cobra.Command {
	return o.flags(terminal.Group("revocations", "Check and list what is revoked",
		"Check and list what is revoked at a running server."+serverHelp,
		revocationsCheckCommand(o), revocationsListCommand(o)))
}

func revocationsCheckCommand(o *options) *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "check VALUE|-",
		Short: "Show whether something is revoked, by what, since when and until when",
		Long: `Tell whether a token (jti), session (sid), user (uid or local user name), client or key
(kid) is revoked, by which events, why, by whom, since when and until when. An operator's note
is only in the server's audit log, which no command reads. With "-" an access token is read from
standard input, and everything that revokes it is listed; the token stays on this machine, and its
signature is not checked. An event of a user, a client or of all (--kind all, with no VALUE)
revokes what was made under an epoch below its own.` + serverHelp,
		Example: "  tokenbroker revocations check ada --kind sub\n  tokenbroker revocations check - < token.txt",
		Args: func(cmd *cobra.Command, args []string) error {
			if revocation.Kind(kind) == revocation.KindAll {
				return terminal.UnknownCommand(cmd, args)
			}
			return terminal.WantArgs("VALUE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "-" {
				return o.checkToken(cmd.Context())
			}
			value := ""
			if len(args) == 1 {
				value = args[0]
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				check, err := client.CheckRevocation(ctx, revocation.Kind(kind), value)
				if err != nil {
					return fmt.Errorf("checking: %w", err)
				}
				return o.emit(check, func(w io.Writer) { printer.RevocationCheck(w, check) })
			})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "what VALUE is: jti, sid, sub, client, kid or all (default: try each)")
	return cmd
}

// checkToken reads a token from standard input and asks what revokes it.
func (o *options) checkToken(ctx context.Context) error {
	text, err := terminal.ReadLine(ctx, o.stdin)
	if err != nil {
		return fmt.Errorf("reading the token from standard input: %w", err)
	}
	token, err := adminclient.ParseToken(text)
	if err != nil {
		return fmt.Errorf("%w: standard input: %w", terminal.ErrUsage, err)
	}
	return o.ask(ctx, func(ctx context.Context, client *adminclient.Client) error {
		check, err := client.CheckToken(ctx, token)
		if err != nil {
			return err
		}
		return o.emit(check, func(w io.Writer) {
			printer.RevocationCheck(w, check)
			_, _ = fmt.Fprintln(w, "The token's signature and expiry were not checked.")
		})
	})
}

func revocationsListCommand(o *options) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what is revoked now",
		Long:    "List the live revocations, by kind and value." + serverHelp,
		Example: "  tokenbroker revocations list --limit 20",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				events, next, err := collect(limit, func(after string, limit int) ([]revocation.Event, string, error) {
					page, err := client.ListRevocations(ctx, after, limit)
					return page.Revocations, page.Next, err
				})
				if err != nil {
					return fmt.Errorf("listing revocations: %w", err)
				}
				o.noteIncomplete(next, 0)
				return o.emit(adminclient.RevocationPage{Revocations: events, Next: next}, func(w io.Writer) { printer.Revocations(w, events) })
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return cmd
}
