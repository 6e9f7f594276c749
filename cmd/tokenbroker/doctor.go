package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tokenbroker/api"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/doctor"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/config"
	"tokenbroker/upstream"
)

// errFindings is what doctor fails with; the findings are printed.
var errFindings = errors.New("the doctor found what keeps the broker from working")

func doctorCommand(o *operator) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at the broker's surroundings and say what to do about what is wrong",
		Long: `Look at the broker's surroundings, as services, browsers and operators meet them: the public URL
and its documents, JWKS, clocks, providers, the rights at NATS, the data directory, free space, what an
fsync costs, cookies and origins through the proxy. Each finding has a hint. With --config it knows the
NATS credentials and works without a running broker, too. It fails when a finding does.` + serverHelp,
		Example: "  tokenbroker doctor\n  tokenbroker doctor --config tokenbroker.yaml",
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			subject, err := o.subject(cmd.Context())
			if err != nil {
				return err
			}
			findings := doctor.Run(cmd.Context(), subject)
			if err := o.emit(findings, func(w io.Writer) { printFindings(w, findings) }); err != nil {
				return err
			}
			if doctor.Failed(findings) {
				return errFindings
			}
			return nil
		},
	}
	return o.flags(cmd)
}

// subject is what doctor looks at: the configuration, if one is named, and what the
// running server says of itself, if it answers. One of the two has to be there.
func (o *operator) subject(ctx context.Context) (doctor.Subject, error) {
	var subject doctor.Subject
	flags := configFlags{file: cmp.Or(o.server.ConfigFile, os.Getenv(configEnv))}
	configured := flags.file != ""
	if configured {
		loaded, built, err := flags.build(ctx)
		if err != nil {
			return doctor.Subject{}, err
		}
		subject = ofConfig(loaded.Config, built)
		subject.ConfigFile, subject.Warnings = flags.name(), loaded.Warnings
	}
	err := o.ask(ctx, func(ctx context.Context, c *adminclient.Client) error {
		status, err := c.Status(ctx)
		if err == nil {
			subject.Status = &status
		}
		return err
	})
	switch {
	case err != nil && !configured:
		return doctor.Subject{}, err
	case err != nil:
		subject.StatusErr = err
	case !configured:
		ofStatus(&subject, subject.Status)
	}
	return subject, nil
}

func ofConfig(cfg *config.Config, built *setup.Built) doctor.Subject {
	s := doctor.Subject{
		Issuer: built.Node.PublicURL, DataDir: cfg.DataDir, Origins: cfg.Origins, NATS: built.Node.NATS, NATSKnown: true,
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		p := setup.UpstreamConfig(name, cfg.Providers[name])
		s.Providers = append(s.Providers, doctor.Upstream{Name: name, Issuer: p.Issuer, Check: checkOf(p)})
	}
	return s
}

// checkOf asks a provider with the broker's own code.
func checkOf(cfg upstream.Config) func(context.Context) (upstream.KeyReport, error) {
	return func(ctx context.Context) (upstream.KeyReport, error) {
		provider, err := upstream.New(cfg)
		if err != nil {
			return upstream.KeyReport{}, err
		}
		defer provider.Close()
		return provider.Check(ctx)
	}
}

func ofStatus(s *doctor.Subject, status *api.Status) {
	s.Issuer, s.DataDir, s.Origins = status.Issuer, status.DataDir, status.Origins
	if !status.NATS.Embedded {
		s.NATS.URL = status.NATS.URL
	}
	for _, p := range status.Providers {
		s.Providers = append(s.Providers, doctor.Upstream{Name: p.Name, Issuer: p.Issuer, Check: checkOf(upstream.Config{
			Name: p.Name, Issuer: p.Issuer, Issuers: p.Issuers, ClientID: "doctor",
		})})
	}
}

func printFindings(w io.Writer, findings []doctor.Finding) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\n", f.Level, cell(f.Check), cell(f.Detail))
		if f.Hint != "" {
			_, _ = fmt.Fprintf(tw, "\t\t→ %s\n", f.Hint)
		}
	}
	_ = tw.Flush()
}
