package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/validator"
)

func tokenCommand(o *options) *cobra.Command {
	return o.flags(terminal.Group("token", "Explain an access token", "Explain an access token.", tokenExplainCommand(o)))
}

// maxJWKS is the maximum size of a key set in a file, in bytes.
const maxJWKS = 256 << 10

// explainFlags name what a token is checked against.
type explainFlags struct {
	issuer, jwks     string
	audience, scopes []string
}

func tokenExplainCommand(o *options) *cobra.Command {
	var flags explainFlags
	cmd := &cobra.Command{
		Use:   "explain [TOKEN|-]",
		Short: "Show by which rule a service refuses an access token",
		Long: `Check an access token by every rule that a service applies, in the same order, and show which of
them refuse it and why. The token is read from standard input (- or no argument), where no shell
keeps it. It is not sent anywhere: only the public keys are fetched, and its ids
(jti, sid, sub, client_id, kid) are looked up at the server.

The issuer is --issuer, else that of the running server, else public_url of the configuration;
the audience is --audience, else tokens.audience of the configuration. Whether the token is
revoked is shown if the operators' API of the running server answers. What cannot be
checked is listed as such. Times are compared with this machine's clock.

Exit code 0: a service accepts it. 1: a rule refuses it, or one could not be checked.` + serverHelp,
		Example: `  tokenbroker token explain --audience demo-api --scope hello:read < token.txt
  tokenbroker token explain --issuer https://login.example.com --audience orders - < token.txt`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%w: unknown argument: want one token, or - for standard input", terminal.ErrUsage) // not shown: it may be a token
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.explain(cmd.Context(), args, flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.issuer, "issuer", "", "the broker's `URL`, as in the token's iss")
	f.StringArrayVar(&flags.audience, "audience", nil, "the `NAME` of the service, as in the token's aud; may be repeated")
	f.StringArrayVar(&flags.scopes, "scope", nil, "a `SCOPE` that the route asks for; may be repeated")
	f.StringVar(&flags.jwks, "jwks", "", "the `FILE` of the broker's public keys (default: fetched from the issuer)")
	return cmd
}

// errRefused is the error for a token that a service would not accept.
var errRefused = errors.New("a service refuses this token")

func (o *options) explain(ctx context.Context, args []string, flags explainFlags) error {
	text, err := o.tokenText(ctx, args)
	if err != nil {
		return err
	}
	config, err := o.explainConfig(ctx, flags)
	if err != nil {
		return err
	}
	got := validator.Explain(ctx, text, config)
	verdict := got.Verdict()
	answer := struct {
		Verdict  validator.Verdict `json:"verdict"`
		Issuer   string            `json:"issuer"`
		Audience []string          `json:"audience"`
		*validator.Explanation
	}{verdict, config.Issuer, append([]string{}, config.Audiences...), got}
	if err := o.emit(answer, func(w io.Writer) { printer.Explanation(w, got) }); err != nil {
		return err
	}
	switch verdict {
	case validator.Refused:
		return fmt.Errorf("%w: %s", errRefused, firstOf(got, validator.Refused))
	case validator.NotChecked:
		return fmt.Errorf("not every rule could be checked: %s", firstOf(got, validator.NotChecked))
	}
	return nil
}

// tokenText returns the token of the argument or of standard input, without a leading "Bearer".
func (o *options) tokenText(ctx context.Context, args []string) (string, error) {
	var text string
	if len(args) == 1 && args[0] != "-" {
		text = args[0]
	} else {
		var err error
		if text, err = terminal.ReadLine(ctx, o.stdin); err != nil {
			return "", fmt.Errorf("reading the token from standard input: %w", err)
		}
	}
	text = strings.TrimSpace(text)
	if scheme, rest, two := strings.Cut(text, " "); two && strings.EqualFold(scheme, "Bearer") {
		text = strings.TrimSpace(rest)
	}
	if text == "" {
		return "", fmt.Errorf("%w: token explain: the token is empty", terminal.ErrUsage)
	}
	return text, nil
}

// explainConfig combines the flags, the running server and the configuration.
func (o *options) explainConfig(ctx context.Context, flags explainFlags) (validator.ExplainConfig, error) {
	config := validator.ExplainConfig{
		Issuer: flags.issuer, Audiences: flags.audience, Scopes: flags.scopes,
		HTTPClient: &http.Client{Timeout: healthTimeout},
	}
	if flags.jwks != "" {
		raw, err := os.ReadFile(flags.jwks)
		if err != nil || len(raw) > maxJWKS {
			return config, fmt.Errorf("--jwks %s: %w", flags.jwks, cmp.Or(err, errors.New("larger than 256 KiB")))
		}
		config.JWKS = raw
	}
	running := o.runningIssuer(ctx)
	if config.Issuer == "" {
		config.Issuer = running
	}
	if file := cmp.Or(o.server.ConfigFile, os.Getenv(configEnv)); file != "" {
		loaded, err := (&configFlags{file: file}).load()
		if loaded == nil {
			return config, err
		}
		config.Issuer = cmp.Or(config.Issuer, loaded.Config.PublicURL)
		if len(config.Audiences) == 0 {
			config.Audiences = loaded.Config.Tokens.Audience
		}
	}
	if config.Issuer == "" {
		return config, fmt.Errorf("%w: token explain: no running server was found: name the broker by --issuer URL, or a configuration by --config", terminal.ErrUsage)
	}
	if running == config.Issuer { // another broker's revocations do not apply
		config.Revoked = o.revokedBy
	}
	return config, nil
}

// runningIssuer returns the issuer of the server that the operators' flags find, or "".
func (o *options) runningIssuer(ctx context.Context) (issuer string) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	_ = o.ask(ctx, func(ctx context.Context, client *adminclient.Client) error { // without it, less can be checked
		status, err := client.Status(ctx)
		issuer = status.Issuer
		return err
	})
	return issuer
}

// revokedBy asks the running server what revokes the token.
func (o *options) revokedBy(ctx context.Context, c *validator.Claims) (by string, err error) {
	token := adminclient.Token{KID: c.KeyID, JTI: c.ID, SID: c.SessionID, Subject: c.Subject, ClientID: c.ClientID, SEP: &c.SEP, CEP: &c.CEP}
	err = o.ask(ctx, func(ctx context.Context, client *adminclient.Client) error {
		check, err := client.CheckToken(ctx, token)
		if err == nil && check.Revoked {
			e := check.Events[0]
			by = fmt.Sprintf("%s %s, %s, at %s", e.Kind, terminal.Cell(e.Value), terminal.Cell(string(e.Reason)), terminal.Stamp(time.Unix(e.At, 0)))
		}
		return err
	})
	return by, err
}

// firstOf returns the first check with a verdict.
func firstOf(x *validator.Explanation, verdict validator.Verdict) string {
	for _, c := range x.Checks {
		if c.Verdict == verdict {
			return c.Rule + ": " + terminal.Cell(c.Detail)
		}
	}
	return ""
}
