package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/doctor"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func statusCommand(o *options) *cobra.Command {
	return o.flags(&cobra.Command{
		Use:   "status",
		Short: "Show a running server at a glance",
		Long: `Show a running server at a glance: version, readiness, store, revocations still to be sent,
NATS, keys, providers and the services. For a yes or no use healthcheck.` + serverHelp,
		Example: "  tokenbroker status --output json",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, client *adminclient.Client) error {
				status, err := client.Status(ctx)
				if err != nil {
					return fmt.Errorf("asking for the status: %w", err)
				}
				return o.emit(status, func(w io.Writer) { printer.Status(w, status) })
			})
		},
	})
}

// healthTimeout limits a healthcheck. It is shorter than the timeouts of supervisors.
const healthTimeout = 5 * time.Second

func healthcheckCommand(o *options) *cobra.Command {
	var target string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Report by the exit code whether a server is healthy",
		Long: `Ask a running server's /readyz: exit code 0 when it serves (also when it is degraded, which
is printed), else 1 with what fails. It needs no token, and stops after 5 seconds.

With --url that URL is asked instead, by a plain GET, and every 2xx is healthy.` + serverHelp,
		Example: `  tokenbroker healthcheck
  tokenbroker healthcheck --url http://127.0.0.1:8082/healthz`,
		Args: terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			if target != "" {
				return o.checkURL(ctx, target)
			}
			return o.ask(ctx, func(ctx context.Context, client *adminclient.Client) error {
				ready, err := client.Ready(ctx)
				if err != nil {
					return unhealthy(err)
				}
				return o.emit(ready, func(w io.Writer) {
					_, _ = fmt.Fprintln(w, terminal.Cell(ready.Status))
					for _, c := range ready.Checks {
						if c.Degraded {
							_, _ = fmt.Fprintf(w, "  %s\n", printer.CheckText(c))
						}
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&target, "url", "", "ask this URL instead: any 2xx is healthy")
	return o.flags(cmd)
}

// unhealthy adds the checks that fail to the server's refusal.
func unhealthy(err error) error {
	var problem *adminclient.Problem
	if !errors.As(err, &problem) {
		return err
	}
	var failed []string
	for _, c := range problem.Checks {
		if !c.OK {
			failed = append(failed, printer.CheckText(c))
		}
	}
	if len(failed) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(failed, "; "))
}

// urlHealth is the output of healthcheck --url --output json.
type urlHealth struct {
	URL    string `json:"url"`
	Status int    `json:"status"`
}

func (o *options) checkURL(ctx context.Context, target string) error {
	status, err := adminclient.CheckURL(ctx, target)
	if err != nil {
		return err
	}
	return o.emit(urlHealth{URL: target, Status: status}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "healthy (%d)\n", status) })
}

// errFindings is the error of doctor when a finding is a failure. The findings were printed.
var errFindings = errors.New("the doctor found what keeps the broker from working")

func doctorCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the broker's surroundings, with a hint for each problem",
		Long: `Check the broker's surroundings, as services, browsers and operators see them: the public URL
and its documents, JWKS, clocks, providers, the rights at NATS, the servers of a shared store, the data
directory, free space, what an fsync costs, cookies and origins through the proxy. Each finding has a
hint. With --config it knows the credentials of NATS and of a shared store and also works without a running broker. It fails when a finding is a failure.` + serverHelp,
		Example: "  tokenbroker doctor\n  tokenbroker doctor --config tokenbroker.yaml",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			subject, err := o.subject(cmd.Context())
			if err != nil {
				return err
			}
			findings := doctor.Run(cmd.Context(), subject)
			if err := o.emit(findings, func(w io.Writer) { doctor.WriteText(w, findings) }); err != nil {
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

// subject returns what doctor examines: the configuration, if one is named, and the status of the running
// server, if it answers. It fails without both.
func (o *options) subject(ctx context.Context) (doctor.Subject, error) {
	var subject doctor.Subject
	flags := configFlags{file: cmp.Or(o.server.ConfigFile, os.Getenv(configEnv))}
	configured := flags.file != ""
	if configured {
		loaded, built, err := flags.build(ctx)
		if err != nil {
			return doctor.Subject{}, err
		}
		subject = doctor.FromConfig(loaded.Config, built)
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
		subject.Describe(subject.Status)
	}
	return subject, nil
}
