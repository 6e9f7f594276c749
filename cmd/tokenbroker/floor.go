package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/logging"
	"tokenbroker/cmd/tokenbroker/internal/restore"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func floorCommand(o *operator) *cobra.Command {
	return group("floor", "Sign everybody out of a stopped server, whose store may be damaged",
		"Raise the floor, the epoch below which every session and every token is dead, of a server that does not run.",
		floorRaiseCommand(o))
}

func floorRaiseCommand(o *operator) *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use: "raise", Short: "Sign everybody out, and start again with what can be read of a store",
		Long: `Sign everybody out, and start again with what can be read of a stopped server's store. It is the way
out of a damaged store where there is no backup: a server does not start with one, because it cannot
know what was revoked.

The records that can be read become a store of their own, with another id, new keys and a floor above
every epoch: no session and no token from before is good, and every key id that can be read is dead
permanently. Users, roles and passwords may be older than the damage: the command reports what is lost,
as far as that can be known. Where there is a backup, 'tokenbroker restore' is the better way.

The damaged store is kept beside the new one. The command is refused while a server runs. It asks first
on a terminal and requires --yes elsewhere.

The data directory and the KEK are those of --config or TOKENBROKER_CONFIG; with only --data-dir
the KEK is the file kek in it.`,
		Example: "  tokenbroker floor raise --data-dir /var/lib/tokenbroker", Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.raiseFloor(cmd.Context(), flags) },
	}
	flags.find(cmd.Flags())
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	terminal.OutputFlag(cmd, &o.format)
	return cmd
}

func (o *operator) raiseFloor(ctx context.Context, flags restoreFlags) (err error) {
	logger := logging.New(o.stderr, logging.Config{Level: new(slog.LevelVar), Format: "json"})
	cfg, err := flags.load("floor raise")
	if err != nil {
		return err
	}
	cfg.Logger = logger
	raise, err := restore.PrepareRaise(ctx, cfg)
	if err != nil {
		return fmt.Errorf("raising the floor in %s: %w: nothing was changed; 'tokenbroker restore FILE' restores a backup", cfg.DataDir, err)
	}
	defer func() { err = errors.Join(err, raise.Close()) }()
	if !flags.yes {
		if err := o.confirm(ctx, raiseQuestion(raise, cfg.DataDir)); err != nil {
			return err
		}
	}
	done, err := raise.Run(ctx)
	if errors.Is(err, restore.ErrDecided) {
		return err
	}
	if err != nil {
		return fmt.Errorf("raising the floor in %s, the old store is still in use: %w", cfg.DataDir, err)
	}
	logger.InfoContext(ctx, "audit", "event", "floor_raise", "operator", fmt.Sprintf("uid %d", os.Getuid()),
		"store", done.Store, "epoch", done.Epoch, "keys_compromised", len(done.Compromised), "lost", done.Lost, "kept", done.Kept)
	return o.emit(done, func(w io.Writer) { printRaised(w, done) })
}

func raiseQuestion(raise *restore.Raise, dir string) string {
	lost := "Nothing of it is lost."
	if len(raise.Lost) > 0 {
		lost = "Lost: " + strings.Join(raise.Lost, "; ") + "."
	}
	return fmt.Sprintf("%s can be read in %s, among them %s, %s and %s. %s\n"+
		"Sign everybody out, and start again with these records?",
		count(raise.Counts.Records, "record"), dir, count(raise.Counts.Users, "user"), count(raise.Counts.Clients, "client"), count(raise.Counts.Sessions, "session"), adminclient.Plain(lost))
}

func printRaised(w io.Writer, r restore.Raised) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("Kept %s: %s, %s, %s, %s.", count(r.Records, "record"), count(r.Users, "user"), count(r.Identities, "account"), count(r.Clients, "client"), count(r.Sessions, "session"))
	say("Everybody signs in again: no session and no token from before is good (epoch %d).", r.Epoch)
	say("Services see another store: %s.", cell(r.Store))
	for _, k := range r.Keys {
		say("New key: %s", k)
	}
	if len(r.Compromised) > 0 {
		say("Dead permanently: %s: %s", count(len(r.Compromised), "key"), cells(r.Compromised))
	}
	if len(r.Lost) == 0 {
		say("Nothing is lost: every record of the last commit could be read.")
	}
	for _, text := range r.Lost {
		say("LOST: %s", adminclient.Plain(text))
	}
	if len(r.Lost) > 0 {
		say("Users, roles, passwords and clients may be older than the damage, or missing: the audit log has what was changed last.")
	}
	say("The old store is kept in %s: remove it when you no longer need it.", r.Kept)
	say("Start the server now.")
}
