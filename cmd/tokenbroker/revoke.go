package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/bulkrevoke"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

// reasonHelp names the codes of --reason.
const reasonHelp = `

--reason takes a code that services see: revoked (the default), logoff, user_disabled,
upstream, backchannel, all_others, reuse, rollback, restore or key_compromise.`

func revokeCommand(o *options) *cobra.Command {
	cmd := terminal.Group("revoke", "Revoke tokens, in every service at once",
		`Revoke tokens and sessions, in every service at once: of a user, of a client or of
all users, one session, one token, or many at a time with --file.

Each line of the file is "jti VALUE", "sid VALUE" or "sub VALUE", or with --kind only the
value; "-" is standard input. Empty lines and those that begin with # are ignored. All bad
lines are listed before anything is revoked. It is safe to run it again after a failure.`+reasonHelp+serverHelp,
		revokeKindCommand(o, revocation.KindSub, &cobra.Command{
			Use: "sub REF", Short: "Revoke all sessions and tokens of a user",
			Long: `Revoke all sessions and tokens of a user, by uid or local user name. The user can sign in
again at once: to keep the user out, use "users disable".` + reasonHelp + serverHelp,
			Example: `  tokenbroker revoke sub ada --note "laptop stolen"`, Args: terminal.WantArgs("REF"),
		}, "revoked all sessions and tokens of "),
		revokeKindCommand(o, revocation.KindSID, &cobra.Command{
			Use: "sid SID", Short: "Revoke a session and its tokens",
			Long:    "Revoke one session and its tokens." + reasonHelp + serverHelp,
			Example: "  tokenbroker revoke sid zwkq3fbn2v6c4o5yqhd7xj2mte --reason revoked", Args: terminal.WantArgs("SID"),
		}, "revoked the session "),
		revokeKindCommand(o, revocation.KindJTI, &cobra.Command{
			Use: "jti JTI", Short: "Revoke one access token",
			Long: `Revoke one access token by its jti claim. Its session lives on and gets another one at the
next refresh: to end it, use "revoke sid".` + reasonHelp + serverHelp,
			Example: "  tokenbroker revoke jti 01890a5d-ac96-774b-bcce-b302099a8057", Args: terminal.WantArgs("JTI"),
		}, "revoked the token "),
		revokeKindCommand(o, revocation.KindClient, &cobra.Command{
			Use: "client ID", Short: "Revoke all sessions and tokens of a client",
			Long: `Revoke all sessions that belong to a client and all tokens that were issued to it, its own
among them. It can get new ones at once: to keep it out, change its secret or remove it. ID may be the
URL of a client's metadata document: all installations of that client are signed out.` + reasonHelp + serverHelp,
			Example: `  tokenbroker revoke client demo-service --note "secret leaked"`, Args: terminal.WantArgs("ID"),
		}, "revoked all sessions and tokens of the client "),
		revokeAllCommand(o))
	revokeFileFlags(o, cmd)
	return o.flags(cmd)
}

// revokeKindCommand adds the flags and the action to cmd; did and the value say what was done.
func revokeKindCommand(o *options, kind revocation.Kind, cmd *cobra.Command, did string) *cobra.Command {
	var why reasonFlags
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return why.revoke(cmd.Context(), o, kind, args[0], did+terminal.Plain(args[0]))
	}
	why.add(o, cmd)
	return cmd
}

func revokeAllCommand(o *options) *cobra.Command {
	var why reasonFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "all", Short: "Revoke every session and token of all users and clients",
		Long: `Revoke every session and token: all users have to sign in again, and all clients have to get new
tokens. It asks first on a terminal and requires --yes elsewhere.` + reasonHelp + serverHelp,
		Example: `  tokenbroker revoke all --yes --note "after the intrusion"`, Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.confirm(cmd.Context(), yes, "Revoke every session and token of all users and clients?"); err != nil {
				return err
			}
			return why.revoke(cmd.Context(), o, revocation.KindAll, "", "revoked every session and token")
		},
	}
	why.add(o, cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// reasonFlags are --reason and --note.
type reasonFlags struct{ reason, note string }

func (f *reasonFlags) add(o *options, cmd *cobra.Command) {
	o.addWait(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "the reason's code (default: revoked)")
	noteFlag(cmd, &f.note)
}

func (f *reasonFlags) revoke(ctx context.Context, o *options, kind revocation.Kind, value, did string) error {
	return o.ask(ctx, func(ctx context.Context, client *adminclient.Client) error {
		done, err := client.Revoke(ctx, adminclient.Revocation{
			Kind: kind, Value: value, Reason: revocation.Reason(f.reason), Note: f.note,
		})
		if err != nil {
			return fmt.Errorf("revoking: %w", err)
		}
		return o.emitRevoked(done, did)
	})
}

// revokeFileFlags makes cmd revoke what --file lists.
func revokeFileFlags(o *options, cmd *cobra.Command) {
	var why reasonFlags
	var file, kind string
	help := cmd.RunE
	cmd.Example = `  tokenbroker revoke --file stolen.txt --kind sid --note "incident 7"`
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			if cmd.Flags().Changed("kind") || cmd.Flags().Changed("file") || why != (reasonFlags{}) || o.wait > 0 {
				return fmt.Errorf("%w: revoke: want --file FILE, or what to revoke: sub, sid, jti, client or all", terminal.ErrUsage)
			}
			return help(cmd, args)
		}
		list, err := bulkrevoke.ReadList(cmd.Context(), file, o.stdin, revocation.Kind(kind))
		if err != nil {
			return err
		}
		return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
			return why.revokeList(ctx, o, client, list)
		})
	}
	why.add(o, cmd)
	cmd.Flags().StringVar(&file, "file", "", "revoke what this file lists, one a line (-: standard input)")
	cmd.Flags().StringVar(&kind, "kind", "", "the kind of all lines, which then have only values: jti, sid or sub")
}

func (f *reasonFlags) revokeList(ctx context.Context, o *options, client *adminclient.Client, list bulkrevoke.List) error {
	why := bulkrevoke.Reason{Code: revocation.Reason(f.reason), Note: f.note}
	done, err := bulkrevoke.Revoke(ctx, client, list, why, terminal.NewProgress(o.stderr, o.format, list.Size()))
	if err != nil {
		return err
	}
	if o.format == terminal.Text {
		done.PrintUnknown(o.stderr)
	}
	return o.emit(done, func(w io.Writer) { done.WriteText(w, time.Duration(o.wait)) })
}
