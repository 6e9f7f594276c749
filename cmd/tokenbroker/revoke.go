package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/revocation"
)

// reasonHelp names the codes of --reason.
const reasonHelp = `

--reason takes a code that services see: revoked (the default), logoff, user_disabled,
upstream, backchannel, all_others, reuse, rollback, restore or key_compromise.`

func revokeCommand(o *operator) *cobra.Command {
	return o.flags(group("revoke", "Revoke tokens, in every service at once",
		"Revoke the tokens of a user or of a session, in every service at once."+serverHelp,
		revokeKindCommand(o, revocation.KindSub, &cobra.Command{
			Use: "sub REF", Short: "Revoke all sessions and tokens of a user",
			Long: `Revoke all sessions and tokens of a user, by uid or local user name. The user can sign in
again at once: to keep the user out, use "users disable".` + reasonHelp + serverHelp,
			Example: `  tokenbroker revoke sub ada --note "laptop stolen"`, Args: wantArgs("REF"),
		}, "revoked all sessions and tokens of "),
		revokeKindCommand(o, revocation.KindSID, &cobra.Command{
			Use: "sid SID", Short: "Revoke a session and its tokens",
			Long:    "Revoke one session and its tokens." + reasonHelp + serverHelp,
			Example: "  tokenbroker revoke sid zwkq3fbn2v6c4o5yqhd7xj2mte --reason revoked", Args: wantArgs("SID"),
		}, "revoked the session ")))
}

// revokeKindCommand gives cmd its flags and what it does.
func revokeKindCommand(o *operator, kind revocation.Kind, cmd *cobra.Command, did string) *cobra.Command {
	var reason, note string
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
			done, err := client.Revoke(ctx, adminclient.Revocation{
				Kind: kind, Value: args[0], Reason: revocation.Reason(reason), Note: note,
			})
			if err != nil {
				return fmt.Errorf("revoking: %w", err)
			}
			return o.emitRevoked(done, did+adminclient.Plain(args[0]))
		})
	}
	cmd.Flags().StringVar(&reason, "reason", "", "the reason's code (default: revoked)")
	noteFlag(cmd, &note)
	return cmd
}
