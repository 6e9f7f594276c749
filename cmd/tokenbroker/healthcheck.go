package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
)

// healthTimeout bounds a healthcheck: less than the supervisors' own.
const healthTimeout = 5 * time.Second

func healthcheckCommand(o *operator) *cobra.Command {
	var target string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Say by the exit code whether a server is healthy",
		Long: `Ask a running server's /readyz: exit code 0 when it serves (also when it is degraded, which
is said), else 1 with what fails. It needs no token, and gives up after 5 seconds.

With --url that URL is asked instead, by a plain GET, and every 2xx is healthy.` + serverHelp,
		Example: `  tokenbroker healthcheck
  tokenbroker healthcheck --url http://127.0.0.1:8082/healthz`,
		Args: unknownCommand,
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
					_, _ = fmt.Fprintln(w, cell(ready.Status))
					for _, c := range ready.Checks {
						if c.Degraded {
							_, _ = fmt.Fprintf(w, "  %s\n", checkText(c))
						}
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&target, "url", "", "ask this URL instead: any 2xx is healthy")
	return o.flags(cmd)
}

// unhealthy adds to the refusal the checks that fail.
func unhealthy(err error) error {
	var problem *adminclient.Problem
	if !errors.As(err, &problem) {
		return err
	}
	var failed []string
	for _, c := range problem.Checks {
		if !c.OK {
			failed = append(failed, checkText(c))
		}
	}
	if len(failed) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(failed, "; "))
}

// urlHealth is what --url --output json prints.
type urlHealth struct {
	URL    string `json:"url"`
	Status int    `json:"status"`
}

func (o *operator) checkURL(ctx context.Context, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("%w: --url: want http:// or https:// with a host, and no user", errUsage)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("not healthy: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("not healthy: %s answered %d %s", adminclient.Plain(target), resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return o.emit(urlHealth{URL: target, Status: resp.StatusCode}, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "healthy (%d)\n", resp.StatusCode)
	})
}
