package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/revocation"
)

// Pauses between two attempts to reach a server that went away.
const (
	firstWatchPause = 250 * time.Millisecond
	maxWatchPause   = 5 * time.Second
)

func watchCommand(o *options) *cobra.Command {
	var kind string
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show revocations as they happen, and how far the services are with them",
		Long: `Show what happens at a running server, as it happens, until Ctrl-C: what is revoked, how
long NATS took to get it, how many of the services have applied it and how fast; services that
come, go stale or fall silent; and changes of keys. Each service that is known is shown first.

A line is printed when the services have applied the batch, or 2 s after it: of a large batch the
first revocations. The letters and number under BATCH are the beginning of the origin, which is
one life of the server, and the place in its batches. Times are UTC.

It outlives the server: when that comes back, so does the view. What happened in between is not
shown; "revocations list" has what is revoked. With --output json each line is an object, as
GET /admin/v1/watch has it.` + serverHelp,
		Example: "  tokenbroker watch --kind sid\n  tokenbroker watch --for 10m --output json",
		Args:    terminal.UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind != "" && !watchedKind(revocation.Kind(kind)) {
				return fmt.Errorf("%w: --kind %s: want jti, sid, sub, client, kid or all", terminal.ErrUsage, terminal.Plain(kind))
			}
			if limit < 0 {
				return fmt.Errorf("%w: --for %s: want a duration above 0", terminal.ErrUsage, limit)
			}
			ctx := cmd.Context()
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			return o.watch(ctx, revocation.Kind(kind))
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only revocations of this kind: jti, sid, sub, client, kid or all")
	cmd.Flags().DurationVar(&limit, "for", 0, "end after this long, as 30s or 10m (default: at Ctrl-C)")
	return o.flags(cmd)
}

func watchedKind(kind revocation.Kind) bool {
	switch kind {
	case revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID, revocation.KindAll:
		return true
	}
	return false
}

// watch prints until ctx ends, which is not an error. After it has reached the server once, it tries again when
// the server goes away.
func (o *options) watch(ctx context.Context, kind revocation.Kind) error {
	p := printer.NewWatch(o.stdout, o.format, kind)
	reached, away, delay := false, false, firstWatchPause
	for {
		err := o.ask(ctx, func(ctx context.Context, client *adminclient.Client) error {
			return client.Watch(ctx, func() {
				p.Begin()
				if away {
					_, _ = fmt.Fprintln(o.stderr, "The server is back; what happened in between is not shown.")
				}
				reached, away, delay = true, false, firstWatchPause
			}, p.Take)
		})
		if printErr := p.Flush(); printErr != nil {
			return printErr
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case !reached || !comesBack(err):
			return fmt.Errorf("watching: %w", err)
		case !away:
			away = true
			_, _ = fmt.Fprintf(o.stderr, "%s; trying again.\n", terminal.Plain(err.Error()))
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		delay = min(2*delay, maxWatchPause)
	}
}

// comesBack reports whether another attempt may succeed after err, once the server was reached.
func comesBack(err error) bool {
	var problem *adminclient.Problem
	if errors.As(err, &problem) {
		return problem.Status >= http.StatusInternalServerError
	}
	return !errors.Is(err, printer.ErrPrinting) && !errors.Is(err, adminclient.ErrOptions)
}
