package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/private"
	"tokenbroker/internal/setting"
)

func clientsCommand(o *options) *cobra.Command {
	return o.flags(terminal.Group("clients", "Add, list, change and remove OAuth clients, and rotate their secrets",
		`Add, list, change and remove OAuth clients of a running server, and rotate their secrets. Clients of
the configuration are listed, and are changed in the configuration. A client whose id is the URL of its metadata
document is ended by "revoke client", and refused by oauth.cimd.hosts in the configuration.`+serverHelp,
		clientsAddCommand(o), clientsListCommand(o), clientsShowCommand(o), clientsUpdateCommand(o), clientsRotateCommand(o), clientsRemoveCommand(o)))
}

func clientsAddCommand(o *options) *cobra.Command {
	var settings clientFlags
	var public bool
	cmd := &cobra.Command{
		Use:   "add ID",
		Short: "Add a client; prints its secret once",
		Long: `Add a client. Unless it is public or has keys or workloads, it gets a secret of 256 random bits, which
is printed once and cannot be shown again.` + serverHelp,
		Example: `  tokenbroker clients add grafana --grant authorization_code --grant refresh_token --redirect-uri https://grafana.example.com/login/generic_oauth --scope openid --scope profile --scope email`,
		Args:    terminal.WantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := operator.NewClient{ID: args[0], Public: public}
			var err error
			if client.ClientSettings, err = settings.read(cmd.Flags()); err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, admin *adminclient.Client) error {
				added, err := admin.AddClient(ctx, client)
				if err != nil {
					return fmt.Errorf("adding the client: %w", err)
				}
				return o.emitSecret(added, "added "+terminal.Plain(added.ID))
			})
		},
	}
	cmd.Flags().BoolVar(&public, "public", false, "the client cannot authenticate: an app or a SPA")
	settings.register(cmd.Flags())
	return cmd
}

// emitSecret prints what was done with a client, and its new secret.
func (o *options) emitSecret(client operator.ClientSecret, did string) error {
	return o.emit(client, func(w io.Writer) {
		_, _ = fmt.Fprintln(w, did)
		if client.Secret != "" {
			_, _ = fmt.Fprintf(w, "secret: %s\n", client.Secret)
			_, _ = fmt.Fprintln(o.stderr, "The secret is not shown again.")
		}
	})
}

func clientsListCommand(o *options) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List clients",
		Long: `List clients in the order of their ids: those of the configuration, those that operators added, and those that
registered themselves, with the time at which each of these is removed unless it is used before. A client of a metadata
document is listed only after it was revoked.` + serverHelp,
		Example: "  tokenbroker clients list",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, admin *adminclient.Client) error {
				unreadable := 0
				clients, next, err := collect(limit, func(after string, limit int) ([]operator.ClientInfo, string, error) {
					page, err := admin.ListClients(ctx, operator.ClientQuery{After: after, Limit: limit})
					unreadable += page.Unreadable
					return page.Clients, page.Next, err
				})
				if err != nil {
					return fmt.Errorf("listing clients: %w", err)
				}
				o.noteIncomplete(next, unreadable)
				return o.emit(operator.ClientPage{Clients: clients, Next: next, Unreadable: unreadable}, func(w io.Writer) { printer.Clients(w, clients) })
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return cmd
}

func clientsShowCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one client",
		Long:    "Show one client: its grants, URIs, scopes and lifetimes. Secrets are never shown." + serverHelp,
		Example: "  tokenbroker clients show grafana --output json",
		Args:    terminal.WantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, admin *adminclient.Client) error {
				client, err := admin.OAuthClient(ctx, args[0])
				if err != nil {
					return fmt.Errorf("showing the client: %w", err)
				}
				return o.emit(client, func(w io.Writer) { printer.Client(w, client) })
			})
		},
	}
}

func clientsUpdateCommand(o *options) *cobra.Command {
	var settings clientFlags
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change a client",
		Long: `Change a client that operators added, or that registered itself: it never gets more than the configuration allows
such clients. What is not named stays; the values of a flag that may be repeated
replace the old ones, and one empty value removes all.` + serverHelp,
		Example: `  tokenbroker clients update grafana --scope openid --scope email --access-token 2m --origin ""`,
		Args:    terminal.WantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := settings.read(cmd.Flags())
			if err != nil {
				return err
			}
			if !settings.given(cmd.Flags()) {
				return fmt.Errorf("%w: nothing to change: set at least one flag, such as --name or --scope", terminal.ErrUsage)
			}
			return o.ask(cmd.Context(), func(ctx context.Context, admin *adminclient.Client) error {
				client, err := admin.UpdateClient(ctx, args[0], change)
				if err != nil {
					return fmt.Errorf("changing the client: %w", err)
				}
				return o.emit(client, func(w io.Writer) { printer.Client(w, client) })
			})
		},
	}
	settings.register(cmd.Flags())
	return cmd
}

func clientsRotateCommand(o *options) *cobra.Command {
	var overlapText, note string
	var yes bool
	cmd := &cobra.Command{
		Use:   "rotate-secret ID",
		Short: "Give a client a new secret; prints it once",
		Long: `Give a client a new secret, which is printed once. The present one stays valid for --overlap. With
--overlap 0s it ends at once; the command then asks first on a terminal and wants --yes elsewhere.` + serverHelp,
		Example: "  tokenbroker clients rotate-secret grafana --overlap 1h",
		Args:    terminal.WantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			overlap, err := setting.ParseDuration(overlapText)
			if overlapText == "0" {
				overlap, err = 0, nil
			}
			if err != nil {
				return fmt.Errorf("%w: --overlap %w", terminal.ErrUsage, err)
			}
			if overlap == 0 {
				if err := o.confirm(cmd.Context(), yes, "End the present secret of "+terminal.Plain(args[0])+" at once?"); err != nil {
					return err
				}
			}
			return o.ask(cmd.Context(), func(ctx context.Context, admin *adminclient.Client) error {
				rotated, err := admin.RotateClientSecret(ctx, args[0], overlap.Std(), note)
				if err != nil {
					return fmt.Errorf("rotating the client's secret: %w", err)
				}
				did := "rotated the secret of " + terminal.Plain(args[0])
				if rotated.HasPreviousSecret {
					did += "; the one before is valid until " + terminal.Stamp(rotated.PreviousSecretUntil)
				}
				return o.emitSecret(rotated, did)
			})
		},
	}
	cmd.Flags().StringVar(&overlapText, "overlap", setting.Duration(operator.DefaultOverlap).String(), "how long the present secret stays valid, 0s to 30d")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	noteFlag(cmd, &note)
	return cmd
}

func clientsRemoveCommand(o *options) *cobra.Command {
	var note string
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "Remove a client and end all its sessions and tokens everywhere",
		Long: `Remove a client that operators added, or that registered itself; all its sessions and tokens end everywhere at once. It asks first on a
terminal and wants --yes elsewhere.` + serverHelp,
		Example: "  tokenbroker clients remove grafana --yes",
		Args:    terminal.WantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.confirm(cmd.Context(), yes, "Remove the client "+terminal.Plain(args[0])+" and end its sessions?"); err != nil {
				return err
			}
			return o.ask(cmd.Context(), func(ctx context.Context, admin *adminclient.Client) error {
				done, err := admin.RemoveClient(ctx, args[0], note)
				if err != nil {
					return fmt.Errorf("removing the client: %w", err)
				}
				return o.emitRevoked(done, "removed "+terminal.Plain(args[0])+" and ended all its sessions")
			})
		},
	}
	noteFlag(cmd, &note)
	o.addWait(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// clientFlags are the flags for the settings of a client.
type clientFlags struct {
	grants, redirects, postLogouts, origins, scopes, defaults, audiences, workloads []string
	firstParty                                                                      bool
	name, access, idle, absolute, grace, jwksFile, jwksURI                          string
}

// lists are the flags that may be repeated, with their values and meanings.
func (f *clientFlags) lists() []clientList {
	return []clientList{
		{"grant", &f.grants, "a grant: authorization_code, refresh_token, client_credentials or token_exchange", func(s *operator.ClientSettings, v []string) { s.Grants = v }},
		{"redirect-uri", &f.redirects, "a URI that users are sent back to with a code, compared exactly", func(s *operator.ClientSettings, v []string) { s.RedirectURIs = v }},
		{"post-logout-uri", &f.postLogouts, "a URI that users may be sent to after a log-out", func(s *operator.ClientSettings, v []string) { s.PostLogoutURIs = v }},
		{"origin", &f.origins, "an origin whose pages call the token and userinfo endpoints", func(s *operator.ClientSettings, v []string) { s.Origins = v }},
		{"scope", &f.scopes, "a scope that the client may ask for", func(s *operator.ClientSettings, v []string) { s.Scopes = v }},
		{"default-scope", &f.defaults, "a scope of a request that names none", func(s *operator.ClientSettings, v []string) { s.DefaultScopes = v }},
		{"audience", &f.audiences, "an audience of the client's tokens; default: tokens.audience", func(s *operator.ClientSettings, v []string) { s.Audiences = v }},
	}
}

type clientList struct {
	name    string
	values  *[]string
	meaning string
	set     func(*operator.ClientSettings, []string)
}

// texts are the flags with one value.
func (f *clientFlags) texts() []clientText {
	return []clientText{
		{"name", &f.name, "the name that users see", func(s *operator.ClientSettings) **string { return &s.Name }},
		{"access-token", &f.access, "the life of the client's access tokens, as 5m; default: the broker's", func(s *operator.ClientSettings) **string { return &s.AccessToken }},
		{"session-idle", &f.idle, "a grant ends when it was not refreshed for this long; default: the broker's", func(s *operator.ClientSettings) **string { return &s.SessionIdle }},
		{"session-absolute", &f.absolute, "a grant ends after this time in any case; default: the broker's", func(s *operator.ClientSettings) **string { return &s.SessionAbsolute }},
		{"refresh-grace", &f.grace, "a superseded refresh token is answered for this long; default: the broker's", func(s *operator.ClientSettings) **string { return &s.RefreshGrace }},
		{"jwks-uri", &f.jwksURI, "the `URL` of the client's public keys (private_key_jwt)", func(s *operator.ClientSettings) **string { return &s.JWKSURI }},
	}
}

type clientText struct {
	name    string
	value   *string
	meaning string
	into    func(*operator.ClientSettings) **string
}

func (f *clientFlags) register(flags *pflag.FlagSet) {
	for _, l := range f.lists() {
		flags.StringArrayVar(l.values, l.name, nil, l.meaning+" (may be repeated)")
	}
	for _, t := range f.texts() {
		flags.StringVar(t.value, t.name, "", t.meaning)
	}
	flags.BoolVar(&f.firstParty, "first-party", false, "users are not asked for their consent")
	flags.StringVar(&f.jwksFile, "jwks-file", "", "the `FILE` with the client's public keys, a JWKS (private_key_jwt)")
	flags.StringArrayVar(&f.workloads, "workload", nil, "an identity of another issuer that is the client, `ISSUER,SUBJECT,AUDIENCE` and optionally the URL of its keys (may be repeated)")
}

// given reports whether a setting was given.
func (f *clientFlags) given(flags *pflag.FlagSet) bool {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&clientFlags{}).register(own)
	given := false
	own.VisitAll(func(flag *pflag.Flag) { given = given || flags.Changed(flag.Name) })
	return given
}

// read returns the settings whose flags were given.
func (f *clientFlags) read(flags *pflag.FlagSet) (operator.ClientSettings, error) {
	var s operator.ClientSettings
	for _, l := range f.lists() {
		if flags.Changed(l.name) {
			l.set(&s, nonEmpty(*l.values))
		}
	}
	for _, t := range f.texts() {
		if flags.Changed(t.name) {
			*t.into(&s) = t.value
		}
	}
	if flags.Changed("first-party") {
		s.FirstParty = &f.firstParty
	}
	if flags.Changed("workload") {
		s.Workloads = []operator.Workload{}
		for _, text := range nonEmpty(f.workloads) {
			parts := strings.Split(text, ",")
			if len(parts) != 3 && len(parts) != 4 {
				return s, fmt.Errorf("%w: --workload %q: want ISSUER,SUBJECT,AUDIENCE or ISSUER,SUBJECT,AUDIENCE,JWKS_URI", terminal.ErrUsage, text)
			}
			w := operator.Workload{Issuer: parts[0], Subject: parts[1], Audience: parts[2]}
			if len(parts) == 4 {
				w.JWKSURI = parts[3]
			}
			s.Workloads = append(s.Workloads, w)
		}
	}
	if flags.Changed("jwks-file") {
		s.JWKS = map[string]any{}
		if f.jwksFile != "" {
			text, _, err := private.ReadNamed(f.jwksFile, maxJWKS)
			if err != nil {
				return s, fmt.Errorf("reading the client's keys: %w", err)
			}
			decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
			decoder.UseNumber()
			if err := decoder.Decode(&s.JWKS); err != nil {
				return s, fmt.Errorf("reading the client's keys: the file %s is not a JSON object", f.jwksFile)
			}
		}
	}
	return s, nil
}

// nonEmpty returns the values that are not empty; the result is not nil.
func nonEmpty(values []string) []string {
	kept := []string{}
	for _, v := range values {
		if v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}
