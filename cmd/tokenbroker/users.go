package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func usersCommand(o *operator) *cobra.Command {
	return o.flags(group("users", "Add, list, change, disable and remove users",
		`Add, list, change, disable and remove users of a running server. REF is a uid or a local
user name. Passwords are read from standard input, one line, never from a flag.`+serverHelp,
		usersAddCommand(o), usersListCommand(o), usersShowCommand(o), usersSetCommand(o), usersPasswdCommand(o),
		usersDisableCommand(o), usersEnableCommand(o), usersRemoveCommand(o)))
}

func usersAddCommand(o *operator) *cobra.Command {
	var attributes, roles []string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a local user; the password comes from standard input",
		Long: `Add a local user, who signs in with a password: one line from standard input.

An attribute's value is taken as JSON when it is JSON (true, 42, ["a","b"]), else as text.` + serverHelp,
		Example: `  printf 'correct horse battery staple' | tokenbroker users add ada --attribute email=ada@example.com --role staff`,
		Args:    wantArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := parseAttributes(attributes)
			if err != nil {
				return err
			}
			password, err := terminal.ReadPassword(cmd.Context(), o.stdin)
			if err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				user, err := client.AddUser(ctx, broker.NewUser{Username: args[0], Password: password, Attributes: parsed, Roles: roles})
				if err != nil {
					return fmt.Errorf("adding the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) {
					_, _ = fmt.Fprintf(w, "added %s (uid %s)\n", adminclient.Plain(user.Username), adminclient.Plain(user.UID))
				})
			})
		},
	}
	cmd.Flags().StringArrayVar(&attributes, "attribute", nil, "an attribute, NAME=VALUE (may be repeated)")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "a role (may be repeated)")
	return cmd
}

func usersListCommand(o *operator) *cobra.Command {
	var match string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List users",
		Long:    "List users in the order of their uids: all, unless --match or --limit say otherwise." + serverHelp,
		Example: "  tokenbroker users list --match example.com --limit 50",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				unreadable := 0
				users, next, err := collect(limit, func(after string, limit int) ([]broker.UserInfo, string, error) {
					page, err := client.ListUsers(ctx, broker.UserQuery{Match: match, After: after, Limit: limit})
					unreadable += page.Unreadable
					return page.Users, page.Next, err
				})
				if err != nil {
					return fmt.Errorf("listing users: %w", err)
				}
				o.moreNote(next)
				o.unreadableNote(unreadable)
				return o.emit(broker.UserPage{Users: users, Next: next, Unreadable: unreadable}, func(w io.Writer) { printUsers(w, users) })
			})
		},
	}
	cmd.Flags().StringVar(&match, "match", "", "only those with this text in user name or e-mail address")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return cmd
}

func printUsers(w io.Writer, users []broker.UserInfo) {
	if len(users) == 0 {
		_, _ = fmt.Fprintln(w, "no users")
		return
	}
	rows := make([][]string, len(users))
	for i, u := range users {
		rows[i] = []string{cell(u.UID), cell(u.Username), userState(u), cells(u.Roles), stamp(u.CreatedAt), stamp(u.LastLogin), issuers(u)}
	}
	table(w, "UID|USERNAME|STATE|ROLES|CREATED|LAST LOGIN|ISSUER", rows)
}

// issuers tells where the user's accounts are: a provider may name its user like a local one.
func issuers(u broker.UserInfo) string {
	names := make([]string, len(u.Accounts))
	for i, a := range u.Accounts {
		names[i] = a.Issuer
		if a.Issuer == broker.LocalIssuer {
			names[i] = "local"
		}
	}
	return cells(names)
}

func userState(u broker.UserInfo) string {
	if u.Disabled {
		return "disabled"
	}
	return "active"
}

func usersShowCommand(o *operator) *cobra.Command {
	return &cobra.Command{
		Use:     "show REF",
		Short:   "Show one user",
		Long:    "Show one user by uid or local user name: accounts, attributes, roles, state." + serverHelp,
		Example: "  tokenbroker users show ada --output json",
		Args:    wantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				user, err := client.User(ctx, args[0])
				if err != nil {
					return fmt.Errorf("showing the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) { printUser(w, user) })
			})
		},
	}
}

func printUser(w io.Writer, u broker.UserInfo) {
	password := "no"
	if u.HasPassword {
		password = "yes"
	}
	rows := [][]string{
		{"uid", cell(u.UID)}, {"username", cell(u.Username)}, {"state", userState(u)}, {"password", password},
		{"roles", cells(u.Roles)}, {"groups", cells(u.Groups)},
		{"created", stamp(u.CreatedAt)}, {"last login", stamp(u.LastLogin)},
	}
	for _, a := range u.Accounts {
		rows = append(rows, []string{"account", cell(a.Issuer) + " " + cell(a.Subject)})
	}
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		rows = append(rows, []string{"attribute", adminclient.Plain(name) + "=" + attributeText(u.Attributes[name])})
	}
	table(w, "", rows)
}
