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

func usersCommand(o *options) *cobra.Command {
	return o.flags(terminal.Group("users", "Add, list, change, disable and remove users",
		`Add, list, change, disable and remove users of a running server. REF is a uid or a local
user name. Passwords are read from standard input, one line, never from a flag.`+serverHelp,
		usersAddCommand(o), usersListCommand(o), usersShowCommand(o), usersSetCommand(o), usersPasswdCommand(o),
		usersDisableCommand(o), usersEnableCommand(o), usersRemoveCommand(o)))
}

func usersAddCommand(o *options) *cobra.Command {
	var attributes, roles []string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a local user; the password comes from standard input",
		Long: `Add a local user, who signs in with a password: one line from standard input.

An attribute's value is taken as JSON when it is JSON (true, 42, ["a","b"]), else as text.` + serverHelp,
		Example: `  printf 'correct horse battery staple' | tokenbroker users add ada --attribute email=ada@example.com --role staff`,
		Args:    terminal.WantArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := adminclient.ParseAttributes(attributes)
			if err != nil {
				return err
			}
			password, err := terminal.ReadPassword(cmd.Context(), o.stdin)
			if err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				user, err := client.AddUser(ctx, operator.NewUser{Username: args[0], Password: password, Attributes: parsed, Roles: roles})
				if err != nil {
					return fmt.Errorf("adding the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) {
					_, _ = fmt.Fprintf(w, "added %s (uid %s)\n", terminal.Plain(user.Username), terminal.Plain(user.UID))
				})
			})
		},
	}
	cmd.Flags().StringArrayVar(&attributes, "attribute", nil, "an attribute, NAME=VALUE (may be repeated)")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "a role (may be repeated)")
	return cmd
}

func usersListCommand(o *options) *cobra.Command {
	var match string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List users",
		Long:    "List users in the order of their uids: all, unless --match or --limit say otherwise." + serverHelp,
		Example: "  tokenbroker users list --match example.com --limit 50",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				unreadable := 0
				users, next, err := collect(limit, func(after string, limit int) ([]operator.UserInfo, string, error) {
					page, err := client.ListUsers(ctx, operator.UserQuery{Match: match, After: after, Limit: limit})
					unreadable += page.Unreadable
					return page.Users, page.Next, err
				})
				if err != nil {
					return fmt.Errorf("listing users: %w", err)
				}
				o.noteIncomplete(next, unreadable)
				return o.emit(operator.UserPage{Users: users, Next: next, Unreadable: unreadable}, func(w io.Writer) { printer.Users(w, users) })
			})
		},
	}
	cmd.Flags().StringVar(&match, "match", "", "only those with this text in user name or e-mail address")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return cmd
}

func usersShowCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show REF",
		Short:   "Show one user",
		Long:    "Show one user by uid or local user name: accounts, attributes, roles, state." + serverHelp,
		Example: "  tokenbroker users show ada --output json",
		Args:    terminal.WantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				user, err := client.User(ctx, args[0])
				if err != nil {
					return fmt.Errorf("showing the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) { printer.User(w, user) })
			})
		},
	}
}

func usersSetCommand(o *options) *cobra.Command {
	var attributes, unset, roles []string
	var noRoles bool
	cmd := &cobra.Command{
		Use:   "set REF",
		Short: "Change a user's attributes and roles",
		Long: `Change a user's attributes and roles. Attributes that are not named stay; the roles given
replace the old ones. Tokens carry the change from the next refresh on. Attributes
are read, changed and written back: of two such commands at once, one may undo the other.` + serverHelp,
		Example: `  tokenbroker users set ada --attribute plan=pro --attribute seats=5 --unset trial --role staff`,
		Args:    terminal.WantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := adminclient.ParseAttributes(attributes)
			if err != nil {
				return err
			}
			for _, name := range unset {
				if _, both := parsed[name]; both || name == "" {
					return fmt.Errorf("%w: --unset %q: want the name of an attribute that --attribute does not set", terminal.ErrUsage, name)
				}
			}
			patch := adminclient.UserPatch{Roles: roles}
			switch {
			case noRoles && len(roles) > 0:
				return fmt.Errorf("%w: --role and --no-roles contradict each other", terminal.ErrUsage)
			case noRoles:
				patch.Roles = []string{}
			case len(roles)+len(parsed)+len(unset) == 0:
				return fmt.Errorf("%w: nothing to change: set --attribute, --unset, --role or --no-roles", terminal.ErrUsage)
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				if len(parsed)+len(unset) > 0 {
					if patch.Attributes, err = client.ChangedAttributes(ctx, args[0], parsed, unset); err != nil {
						return err
					}
				}
				user, err := client.UpdateUser(ctx, args[0], patch)
				if err != nil {
					return fmt.Errorf("changing the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) { printer.User(w, user) })
			})
		},
	}
	cmd.Flags().StringArrayVar(&attributes, "attribute", nil, "an attribute, NAME=VALUE, the value JSON or text (may be repeated)")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "an attribute to remove (may be repeated)")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "a role; the roles given replace the old ones (may be repeated)")
	cmd.Flags().BoolVar(&noRoles, "no-roles", false, "remove all roles")
	return cmd
}

func usersPasswdCommand(o *options) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "passwd REF",
		Short: "Set a user's password, from standard input, and end the sessions",
		Long: `Set a user's password: one line from standard input. All the user's sessions and tokens
end everywhere, unless --keep-sessions is given.` + serverHelp,
		Example: `  printf 'correct horse battery staple' | tokenbroker users passwd ada`,
		Args:    terminal.WantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := terminal.ReadPassword(cmd.Context(), o.stdin)
			if err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.SetPassword(ctx, args[0], password, keep)
				if err != nil {
					return fmt.Errorf("setting the password: %w", err)
				}
				if keep {
					return o.emit(done, func(w io.Writer) {
						_, _ = fmt.Fprintf(w, "set the password of %s; the sessions go on\n", terminal.Plain(args[0]))
					})
				}
				return o.emitRevoked(done, "set the password of "+terminal.Plain(args[0])+" and ended all sessions")
			})
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-sessions", false, "leave the user signed in")
	o.addWait(cmd)
	return cmd
}

func usersDisableCommand(o *options) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "disable REF",
		Short: "Disable a user and end all sessions and tokens everywhere",
		Long: `Disable a user: sign-ins as that user are refused until "users enable", and all sessions and
tokens end everywhere at once.` + serverHelp,
		Example: `  tokenbroker users disable ada --note "left the company"`,
		Args:    terminal.WantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.DisableUser(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("disabling the user: %w", err)
				}
				return o.emitRevoked(done, "disabled "+terminal.Plain(args[0])+" and ended all sessions")
			})
		},
	}
	noteFlag(cmd, &note)
	o.addWait(cmd)
	return cmd
}

func usersEnableCommand(o *options) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:     "enable REF",
		Short:   "Let a disabled user sign in again",
		Long:    "Let a disabled user sign in again. What was ended stays ended." + serverHelp,
		Example: "  tokenbroker users enable ada",
		Args:    terminal.WantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				user, err := client.EnableUser(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("enabling the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) {
					_, _ = fmt.Fprintf(w, "enabled %s (uid %s)\n", terminal.Cell(user.Username), terminal.Cell(user.UID))
				})
			})
		},
	}
	noteFlag(cmd, &note)
	return cmd
}

func usersRemoveCommand(o *options) *cobra.Command {
	var note string
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove REF",
		Short: "Remove a user and end all sessions and tokens everywhere",
		Long: `Remove a user permanently; all sessions and tokens end everywhere at once. It asks first on a
terminal and wants --yes elsewhere.` + serverHelp,
		Example: "  tokenbroker users remove ada --yes",
		Args:    terminal.WantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.confirm(cmd.Context(), yes, "Remove the user "+terminal.Plain(args[0])+" permanently?"); err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.RemoveUser(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("removing the user: %w", err)
				}
				return o.emitRevoked(done, "removed "+terminal.Plain(args[0])+" and ended all sessions")
			})
		},
	}
	noteFlag(cmd, &note)
	o.addWait(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
