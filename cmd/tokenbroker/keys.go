package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

func keysCommand(o *options) *cobra.Command {
	return o.flags(terminal.Group("keys", "List, rotate and revoke signing keys",
		`Look after the keys of a running server: those that sign access tokens (purpose access),
those that sign revocation messages (feed), and the secret that refresh and CSRF tokens are
derived from (master). docs/keys.md has the runbooks.`+serverHelp,
		keysListCommand(o), keysRotateCommand(o), keysRevokeCommand(o), keysResealCommand(o), keysExportCommand(o)))
}

func keysListCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the keys: their age, their state and what comes next",
		Long: "List all keys with their age, their state, and what happens to each by itself and when." + serverHelp,
		Example: `  tokenbroker keys list
  tokenbroker keys list --output json`, Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				list, err := client.ListKeys(ctx)
				if err != nil {
					return fmt.Errorf("listing keys: %w", err)
				}
				return o.emit(list, func(w io.Writer) { printer.Keys(w, list) })
			})
		},
	}
}

func keysRotateCommand(o *options) *cobra.Command {
	var rotation adminclient.KeyRotation
	var yes bool
	cmd := &cobra.Command{
		Use: "rotate", Short: "Have the next key sign as soon as services know it",
		Long: `Rotate a key: the next one, which services know already, signs from now on; the old one stays
published until its last token has expired. No session ends. If services may not know the next key
yet, or --algorithm names another one, the rotation is scheduled: the output states when, and
the exit code is 0. The same command before that time changes nothing.

It asks first on a terminal and requires --yes elsewhere.` + serverHelp,
		Example: `  tokenbroker keys rotate --yes
  tokenbroker keys rotate --algorithm EdDSA --note "smaller tokens"
  tokenbroker keys rotate --purpose master --yes`, Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.confirm(cmd.Context(), yes, "Rotate the "+terminal.Plain(rotation.Purpose)+" key?"); err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.RotateKey(ctx, rotation)
				if err != nil {
					return fmt.Errorf("rotating: %w", err)
				}
				return o.emit(done, func(w io.Writer) { printer.KeyRotated(w, done) })
			})
		},
	}
	cmd.Flags().StringVar(&rotation.Purpose, "purpose", "access", "what to rotate: access, feed or master")
	cmd.Flags().StringVar(&rotation.Algorithm, "algorithm", "", "ES256, EdDSA, RS256 or PS256, for access keys (default: as now)")
	noteFlag(cmd, &rotation.Note)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func keysRevokeCommand(o *options) *cobra.Command {
	var reason, note string
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke KID", Short: "Revoke a leaked key: its tokens are refused everywhere, at once and permanently",
		Long: `Revoke a key that leaked: another one signs at once, the old one is no longer published, and every
service refuses its tokens at once and permanently. No user is logged out: the next refresh
returns a new token. It is safe to run it again.

It asks first on a terminal and requires --yes elsewhere.` + strings.Replace(reasonHelp, "revoked (the default), ", "key_compromise (the default), revoked, ", 1) + serverHelp,
		Example: `  tokenbroker keys revoke i4x2pqn7vsbk3cjd5o6zrwtm --yes --note "found in a public bucket"`, Args: terminal.WantArgs("KID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.confirm(cmd.Context(), yes, "Revoke the key "+terminal.Plain(args[0])+" permanently, with all tokens that it signed?"); err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.RevokeKey(ctx, args[0], revocation.Reason(reason), note)
				if err != nil {
					return fmt.Errorf("revoking the key: %w", err)
				}
				did := "revoked the key " + terminal.Cell(done.Value)
				if done.Successor != "" {
					did += "; " + terminal.Cell(done.Successor) + " signs"
				}
				return o.emit(done, func(w io.Writer) { printer.Revoked(w, done.Revoked, did, time.Duration(o.wait)) })
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "the reason's code (default: key_compromise)")
	noteFlag(cmd, &note)
	o.addWait(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func keysResealCommand(o *options) *cobra.Command {
	var kekFile, note string
	cmd := &cobra.Command{
		Use: "reseal", Short: "Seal the private keys under another KEK",
		Long: `Seal the private keys and secrets under another key encryption key (KEK). The keys stay as they
are. With --kek-file the server reads the new KEK there: a file on its machine, of its user, that
no other user can read. Without it, a server whose KEK is the file kek in its data directory makes a
new one there. The output states what has to be changed before the next start.` + serverHelp,
		Example: `  tokenbroker keys reseal
  tokenbroker keys reseal --kek-file /etc/tokenbroker/secrets/kek-2027`, Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kekFile != "" {
				var err error
				if kekFile, err = filepath.Abs(kekFile); err != nil {
					return fmt.Errorf("finding --kek-file: %w", err)
				}
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.ResealKeys(ctx, kekFile, note)
				if err != nil {
					return fmt.Errorf("resealing: %w", err)
				}
				return o.emit(done, func(w io.Writer) {
					_, _ = fmt.Fprintf(w, "resealed: the KEK is now %s\n", terminal.Plain(done.KEKFile))
					if done.Todo != "" {
						_, _ = fmt.Fprintf(w, "TO DO before the next start: %s\n", terminal.Plain(done.Todo))
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&kekFile, "kek-file", "", "the file with the new KEK, on the server's machine (default: the server makes one)")
	noteFlag(cmd, &note)
	return cmd
}

func keysExportCommand(o *options) *cobra.Command {
	var purpose string
	cmd := &cobra.Command{
		Use: "export-jwks", Short: "Print the public keys as services receive them",
		Long:    "Print the JWK set (RFC 7517) of the access keys or of the feed keys: only public keys." + serverHelp,
		Example: "  tokenbroker keys export-jwks --purpose feed > feed.json", Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				set, err := client.ExportKeys(ctx, purpose)
				if err != nil {
					return fmt.Errorf("exporting keys: %w", err)
				}
				return o.emit(set, func(w io.Writer) {
					body, _ := terminal.Document(set) // it was read as JSON
					_, _ = w.Write(body)
				})
			})
		},
	}
	cmd.Flags().StringVar(&purpose, "purpose", "access", "access or feed")
	return cmd
}
