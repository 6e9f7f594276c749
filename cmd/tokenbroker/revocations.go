package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

func revocationsCommand(o *operator) *cobra.Command {
	return o.flags(group("revocations", "Check and list what is revoked",
		"Check and list what is revoked at a running server."+serverHelp,
		revocationsCheckCommand(o), revocationsListCommand(o)))
}

func revocationsCheckCommand(o *operator) *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "check VALUE|-",
		Short: "Tell whether something is revoked, by what, since when and until when",
		Long: `Tell whether a token (jti), session (sid), user (uid or local user name), client or key
(kid) is revoked, by which events, why, by whom, since when and until when. An operator's note
is in the server's audit log alone, which no command reads. With "-" an access token is
read from standard input, and whatever hits it is told; it stays on this machine, and its
signature is not checked. An event of a user, a client or of everybody (--kind all, with no
VALUE) hits what was made under an epoch below its own.` + serverHelp,
		Example: "  tokenbroker revocations check ada --kind sub\n  tokenbroker revocations check - < token.txt",
		Args: func(cmd *cobra.Command, args []string) error {
			if revocation.Kind(kind) == revocation.KindAll {
				return unknownCommand(cmd, args)
			}
			return wantArgs("VALUE")(cmd, args)
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
				return o.emit(check, func(w io.Writer) { printCheck(w, check) })
			})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "what VALUE is: jti, sid, sub, client, kid or all (default: try each)")
	return cmd
}

// checkToken reads a token and asks for each part of it.
func (o *operator) checkToken(ctx context.Context) error {
	text, err := terminal.ReadLine(ctx, o.stdin)
	if err != nil {
		return fmt.Errorf("reading the token from standard input: %w", err)
	}
	token, err := parseToken(text)
	if err != nil {
		return fmt.Errorf("%w: standard input: %w", errUsage, err)
	}
	return o.ask(ctx, func(ctx context.Context, client *adminclient.Client) error {
		check, err := checkParts(ctx, client, token)
		if err != nil {
			return err
		}
		return o.emit(check, func(w io.Writer) {
			printCheck(w, check)
			_, _ = fmt.Fprintln(w, "The token's signature and expiry were not checked.")
		})
	})
}

// checkParts asks for each part of a token.
func checkParts(ctx context.Context, client *adminclient.Client, token tokenParts) (broker.RevocationCheck, error) {
	check := broker.RevocationCheck{Kind: "token", Value: token.JTI, Events: []revocation.Recorded{}}
	for _, part := range token.parts() {
		if part.value == "" && part.kind != revocation.KindAll {
			continue
		}
		got, err := client.CheckRevocation(ctx, part.kind, part.value)
		if err != nil {
			return check, fmt.Errorf("checking: %w", err)
		}
		for _, e := range got.Events {
			// A sid's answer tells of its user's and client's events, too: those have their turn.
			if e.Kind == part.kind && e.Value == part.value && e.Epoch > part.made {
				check.Events = append(check.Events, e)
			}
		}
		if part.kind == revocation.KindSID {
			check.Session = got.Session
		}
	}
	check.Revoked = len(check.Events) > 0
	return check, nil
}

func printCheck(w io.Writer, check broker.RevocationCheck) {
	verdict := "not revoked"
	if check.Revoked {
		verdict = "revoked"
	}
	of := cell(check.Value)
	if check.Kind == "token" {
		of = "the token " + of
	} else if check.Kind == string(revocation.KindAll) {
		of = "everybody's"
	}
	_, _ = fmt.Fprintf(w, "%s: %s\n", verdict, of)
	if s := check.Session; s != nil {
		_, _ = fmt.Fprintf(w, "session %s of user %s and client %s: %s\n", cell(s.SID), cell(s.UID), cell(s.ClientID), cell(s.State))
	}
	if len(check.Events) == 0 {
		return
	}
	rows := make([][]string, len(check.Events))
	for i, e := range check.Events {
		batch := "-"
		if e.Origin != "" {
			batch = cell(e.Origin) + "." + strconv.FormatUint(e.Seq, 10)
		}
		rows[i] = append(eventCells(e.Event), by(e), batch)
	}
	table(w, eventHeader+"|BY|BATCH", rows)
	_, _ = fmt.Fprintln(w, auditHint)
}

// auditHint says where the rest of it stands.
const auditHint = "The operator's note and the request are in the server's audit log: search it for the value."

// by says who did it: the operator, or whom the reason tells of.
func by(e revocation.Recorded) string {
	if e.By != "" {
		return cell(e.By)
	}
	switch e.Reason {
	case revocation.ReasonLogoff, revocation.ReasonAllOthers:
		return "the user"
	case revocation.ReasonBackchannel, revocation.ReasonUpstream:
		return "the provider"
	case revocation.ReasonReuse, revocation.ReasonRollback:
		return "the broker"
	}
	return "-"
}

const eventHeader = "KIND|VALUE|REASON|SINCE|UNTIL|EPOCHS BELOW"

func eventCells(e revocation.Event) []string {
	until, epoch, since := "for ever", "-", "-"
	if e.ExpiresAt > 0 {
		until = stamp(time.Unix(e.ExpiresAt, 0))
	}
	if e.At > 0 {
		since = stamp(time.Unix(e.At, 0))
	}
	if e.Epoch > 0 {
		epoch = strconv.FormatInt(e.Epoch, 10)
	}
	return []string{cell(string(e.Kind)), cell(e.Value), cell(string(e.Reason)), since, until, epoch}
}

func revocationsListCommand(o *operator) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what is revoked now",
		Long:    "List the live revocations, by kind and value." + serverHelp,
		Example: "  tokenbroker revocations list --limit 20",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				events, next, err := collect(limit, func(after string, limit int) ([]revocation.Event, string, error) {
					page, err := client.ListRevocations(ctx, after, limit)
					return page.Revocations, page.Next, err
				})
				if err != nil {
					return fmt.Errorf("listing revocations: %w", err)
				}
				o.moreNote(next)
				return o.emit(adminclient.RevocationPage{Revocations: events, Next: next}, func(w io.Writer) { printEvents(w, events) })
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return cmd
}

func printEvents(w io.Writer, events []revocation.Event) {
	if len(events) == 0 {
		_, _ = fmt.Fprintln(w, "nothing is revoked")
		return
	}
	rows := make([][]string, len(events))
	for i, e := range events {
		rows[i] = eventCells(e)
	}
	table(w, eventHeader, rows)
}
