package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"tokenbroker/internal/private"
	"tokenbroker/upstream/devidp"
)

type idpOptions struct {
	listen, userPool, clientID, secretFile string
	redirectURIs, logoutURIs               []string
}

func idpCommand(stdout io.Writer) *cobra.Command {
	var opts idpOptions
	cmd := &cobra.Command{
		Use:   "idp",
		Short: "Run the Cognito emulator alone, to try serve without AWS",
		Long: `Run the Cognito emulator of dev alone, so that serve can be tried without AWS. It prints what to put
into the configuration. It keeps everything in memory, its users and passwords are published
(admin / admin, ada / ada), and it listens only on loopback.

Unless --redirect-uri or --logout-uri is given, it sends browsers back to any page on loopback.
With one of them only to those given, compared to the letter as Cognito does.`,
		Example: "  tokenbroker idp\n  tokenbroker idp --redirect-uri http://127.0.0.1:8080/auth/callback/cognito/ --logout-uri http://127.0.0.1:8080/",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runIDP(cmd.Context(), opts, stdout)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.listen, "listen", defaultIDPListen, "the emulator's address; the issuer of its users has it")
	flags.StringVar(&opts.userPool, "user-pool", devPool, "the user pool's id")
	flags.StringVar(&opts.clientID, "client-id", devIDPClient, "the app client's id")
	flags.StringVar(&opts.secretFile, "client-secret-file", "", "file with the app client's secret (default: a public client, without one)")
	flags.StringArrayVar(&opts.redirectURIs, "redirect-uri", nil, "an allowed callback URL (repeatable)")
	flags.StringArrayVar(&opts.logoutURIs, "logout-uri", nil, "an allowed sign-out URL (repeatable)")
	return cmd
}

// poolID is a user pool's id, which begins with its region.
var poolID = regexp.MustCompile(`^([a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2})_[A-Za-z0-9]+$`)

// client checks the options and returns the app client that they describe.
func (o idpOptions) client() (devidp.Client, error) {
	if !onLoopback(o.listen) {
		return devidp.Client{}, fmt.Errorf("%w: --listen %q is not a loopback address: the emulator has known passwords and is only for this machine", errUsage, o.listen)
	}
	if !poolID.MatchString(o.userPool) {
		return devidp.Client{}, fmt.Errorf("%w: --user-pool %q is not a user pool's id, such as %s", errUsage, o.userPool, devPool)
	}
	if o.clientID == "" {
		return devidp.Client{}, fmt.Errorf("%w: --client-id is empty", errUsage)
	}
	for _, uri := range append(o.redirectURIs, o.logoutURIs...) {
		u, err := url.Parse(uri)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Contains(uri, "#") {
			return devidp.Client{}, fmt.Errorf("%w: %q is not an http or https URL without a fragment", errUsage, uri)
		}
	}
	c := devidp.Client{
		ID: o.clientID, RedirectURIs: o.redirectURIs, LogoutURIs: o.logoutURIs,
		AnyLoopback: len(o.redirectURIs) == 0 && len(o.logoutURIs) == 0,
	}
	if o.secretFile != "" {
		secret, _, err := private.ReadSecret(o.secretFile)
		if err != nil {
			return devidp.Client{}, fmt.Errorf("--client-secret-file: %w", err)
		}
		c.Secret = secret
	}
	return c, nil
}

// idpText is what idp prints once it answers.
var idpText = template.Must(template.New("idp").Parse(`
The Cognito emulator is ready: {{.Endpoint}} (admin / admin, ada / ada). For development on this machine only.

Put this into the configuration of serve:

providers:
  cognito:
    kind: cognito
    region: {{.Region}}
    user_pool: {{.UserPool}}
    client_id: {{.ClientID}}
{{if .SecretFile}}    client_secret_file: {{.SecretFile}}
{{end}}    insecure_dev_endpoint: {{.Endpoint}}

It sends browsers back to {{if .AnyLoopback}}any page on loopback{{else}}{{range $i, $uri := .URIs}}{{if $i}}, {{end}}{{$uri}}{{end}}{{end}}.
Stop with Ctrl-C.

`))

// runIDP serves until ctx ends or the listener fails.
func runIDP(ctx context.Context, opts idpOptions, stdout io.Writer) (err error) {
	client, err := opts.client()
	if err != nil {
		return err
	}
	idp, err := listenIDP(opts.listen, "--listen", opts.userPool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, idp.stop()) }()
	if err := idp.serve(client); err != nil {
		return err
	}
	if err := idpText.Execute(stdout, map[string]any{
		"Endpoint": idp.url(), "Region": poolID.FindStringSubmatch(opts.userPool)[1], "UserPool": opts.userPool, "ClientID": opts.clientID,
		"SecretFile": opts.secretFile, "AnyLoopback": client.AnyLoopback, "URIs": append(opts.redirectURIs, opts.logoutURIs...),
	}); err != nil {
		return fmt.Errorf("printing the configuration: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-idp.failed:
		return fmt.Errorf("the Cognito emulator's listener ended: %w", err)
	}
}
