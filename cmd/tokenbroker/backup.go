package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/private"
	"tokenbroker/store/backup"
)

// backupDone describes a finished backup.
type backupDone struct {
	File    string    `json:"file"`
	Bytes   int64     `json:"bytes"`
	Records uint64    `json:"records"`
	Store   string    `json:"store"`
	TakenAt time.Time `json:"taken_at"`
}

func backupCommand(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Back up a running server's records into a file",
		Long: `Back up a running server's records into a file (mode 0600): all of them as they are at one
moment, encrypted and authenticated under the server's key encryption key (KEK). The file is
read again and checked before it gets its name.

The KEK is not in it: keep that apart. Without it the backup cannot be restored.` + serverHelp,
		Example: "  tokenbroker backup /backup/tokenbroker.backup", Args: terminal.WantArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				return o.backup(ctx, client, args[0], force)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	return o.flags(cmd)
}

func (o *options) backup(ctx context.Context, client *adminclient.Client, path string, force bool) error {
	if _, err := os.Lstat(path); err == nil && !force {
		return backupExists(path)
	}
	done := backupDone{File: path}
	err := private.WriteFile(path, force, func(f *os.File) error {
		counted := &terminal.CountingWriter{W: f, Stderr: o.stderr}
		if err := client.Backup(ctx, counted); err != nil {
			return err
		}
		done.Bytes = counted.Written
		whole, err := backup.Check(ctx, f.Name())
		if err != nil {
			return fmt.Errorf("the server did not send all of it: %w", err)
		}
		done.Records, done.Store, done.TakenAt = whole.Records, whole.Header.Store, time.Unix(whole.Header.TakenAt, 0).UTC()
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return backupExists(path)
	case err != nil:
		return fmt.Errorf("backing up into %s: %w", path, err)
	}
	return o.emit(done, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "backed up %d records of the store %s, as of %s, into %s (%d bytes)\n",
			done.Records, terminal.Cell(done.Store), terminal.Stamp(done.TakenAt), terminal.Plain(path), done.Bytes)
	})
}

func backupExists(path string) error {
	return fmt.Errorf("%s exists: choose another name, or replace it with --force", path)
}
