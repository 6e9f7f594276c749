package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func usersSetCommand(o *operator) *cobra.Command {
	var attributes, unset, roles []string
	var noRoles bool
	cmd := &cobra.Command{
		Use:   "set REF",
		Short: "Change a user's attributes and roles",
		Long: `Change a user's attributes and roles. Attributes that are not named stay; the roles given
take the place of the old ones. Tokens carry the change from the next refresh on. Attributes
are read, changed and written back: of two such commands at once, one may undo the other.` + serverHelp,
		Example: `  tokenbroker users set ada --attribute plan=pro --attribute seats=5 --unset trial --role staff`,
		Args:    wantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := parseAttributes(attributes)
			if err != nil {
				return err
			}
			for _, name := range unset {
				if _, both := parsed[name]; both || name == "" {
					return fmt.Errorf("%w: --unset %q: want the name of an attribute that is not set, too", errUsage, name)
				}
			}
			patch := adminclient.UserPatch{Roles: roles}
			switch {
			case noRoles && len(roles) > 0:
				return fmt.Errorf("%w: --role and --no-roles contradict each other", errUsage)
			case noRoles:
				patch.Roles = []string{}
			case len(roles)+len(parsed)+len(unset) == 0:
				return fmt.Errorf("%w: nothing to change: give --attribute, --unset, --role or --no-roles", errUsage)
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				if len(parsed)+len(unset) > 0 {
					if patch.Attributes, err = changedAttributes(ctx, client, args[0], parsed, unset); err != nil {
						return err
					}
				}
				user, err := client.UpdateUser(ctx, args[0], patch)
				if err != nil {
					return fmt.Errorf("changing the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) { printUser(w, user) })
			})
		},
	}
	cmd.Flags().StringArrayVar(&attributes, "attribute", nil, "an attribute, NAME=VALUE, the value JSON or text (may be repeated)")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "an attribute to take away (may be repeated)")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "a role; all given take the place of the old ones (may be repeated)")
	cmd.Flags().BoolVar(&noRoles, "no-roles", false, "take all roles away")
	return cmd
}

// changedAttributes are all that the user shall have: the server replaces them as a whole.
func changedAttributes(ctx context.Context, client *adminclient.Client, ref string, put map[string]any, unset []string) (map[string]any, error) {
	user, err := client.User(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("reading the user's attributes: %w", err)
	}
	attributes := make(map[string]any, len(user.Attributes)+len(put))
	maps.Copy(attributes, user.Attributes)
	maps.Copy(attributes, put)
	for _, name := range unset {
		delete(attributes, name)
	}
	return attributes, nil
}

func usersPasswdCommand(o *operator) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "passwd REF",
		Short: "Set a user's password, from standard input, and end the sessions",
		Long: `Set a user's password: one line from standard input. All the user's sessions and tokens
end everywhere, unless --keep-sessions is given.` + serverHelp,
		Example: `  printf 'correct horse battery staple' | tokenbroker users passwd ada`,
		Args:    wantArgs("REF"),
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
						_, _ = fmt.Fprintf(w, "set the password of %s; the sessions go on\n", adminclient.Plain(args[0]))
					})
				}
				return o.emitRevoked(done, "set the password of "+adminclient.Plain(args[0])+" and ended all sessions")
			})
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-sessions", false, "leave the user signed in")
	o.addWait(cmd)
	return cmd
}

func usersDisableCommand(o *operator) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "disable REF",
		Short: "Disable a user and end all sessions and tokens everywhere",
		Long: `Disable a user: nobody signs in as that user until "users enable", and all sessions and
tokens end everywhere at once.` + serverHelp,
		Example: `  tokenbroker users disable ada --note "left the company"`,
		Args:    wantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.DisableUser(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("disabling the user: %w", err)
				}
				return o.emitRevoked(done, "disabled "+adminclient.Plain(args[0])+" and ended all sessions")
			})
		},
	}
	noteFlag(cmd, &note)
	o.addWait(cmd)
	return cmd
}

func usersEnableCommand(o *operator) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:     "enable REF",
		Short:   "Let a disabled user sign in again",
		Long:    "Let a disabled user sign in again. What was ended stays ended." + serverHelp,
		Example: "  tokenbroker users enable ada",
		Args:    wantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				user, err := client.EnableUser(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("enabling the user: %w", err)
				}
				return o.emit(user, func(w io.Writer) {
					_, _ = fmt.Fprintf(w, "enabled %s (uid %s)\n", cell(user.Username), cell(user.UID))
				})
			})
		},
	}
	noteFlag(cmd, &note)
	return cmd
}

func usersRemoveCommand(o *operator) *cobra.Command {
	var note string
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove REF",
		Short: "Remove a user and end all sessions and tokens everywhere",
		Long: `Remove a user for good; all sessions and tokens end everywhere at once. It asks first on a
terminal and wants --yes elsewhere.` + serverHelp,
		Example: "  tokenbroker users remove ada --yes",
		Args:    wantArgs("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				if err := o.confirm(cmd.Context(), "Remove the user "+adminclient.Plain(args[0])+" for good?"); err != nil {
					return err
				}
			}
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				done, err := client.RemoveUser(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("removing the user: %w", err)
				}
				return o.emitRevoked(done, "removed "+adminclient.Plain(args[0])+" and ended all sessions")
			})
		},
	}
	noteFlag(cmd, &note)
	o.addWait(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func noteFlag(cmd *cobra.Command, note *string) {
	cmd.Flags().StringVar(note, "note", "", "your words for the audit log")
}

// parseAttributes reads NAME=VALUE; nil for none. Errors do not show the values.
func parseAttributes(given []string) (map[string]any, error) {
	if len(given) == 0 {
		return nil, nil
	}
	attributes := make(map[string]any, len(given))
	for _, g := range given {
		name, text, ok := strings.Cut(g, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: --attribute: want NAME=VALUE", errUsage)
		}
		if _, twice := attributes[name]; twice {
			return nil, fmt.Errorf("%w: --attribute %s is given twice", errUsage, name)
		}
		attributes[name] = attributeValue(text)
	}
	return attributes, nil
}

// attributeValue is text as JSON if it is one JSON value, with its numbers as written.
func attributeValue(text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return text
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return text
	}
	return value
}

// attributeText shows a value as --attribute takes it.
func attributeText(value any) string {
	if text, ok := value.(string); ok {
		if _, same := attributeValue(text).(string); same {
			return adminclient.Plain(text)
		}
	}
	body, err := terminal.Document(value)
	var line bytes.Buffer
	if err != nil || json.Compact(&line, body) != nil {
		return "?"
	}
	return strings.TrimSpace(line.String())
}
