package doctor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"text/tabwriter"

	"tokenbroker/api"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/upstream"
)

// FromConfig returns the subject that a configuration, and what it was built into, describe.
func FromConfig(cfg *config.Config, built *setup.Built) Subject {
	s := Subject{
		Issuer: built.Node.PublicURL, DataDir: cfg.DataDir, Origins: cfg.Origins, NATS: built.Node.NATS, NATSKnown: true,
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		p := setup.UpstreamConfig(name, cfg.Providers[name])
		s.Providers = append(s.Providers, Upstream{Name: name, Issuer: p.Issuer, Check: providerCheck(p)})
	}
	return s
}

// providerCheck returns a check that asks a provider with the broker's own code.
func providerCheck(cfg upstream.Config) func(context.Context) (upstream.KeyReport, error) {
	return func(ctx context.Context) (upstream.KeyReport, error) {
		cfg.Logger = slog.New(slog.DiscardHandler) // the findings say what is wrong
		provider, err := upstream.New(cfg)
		if err != nil {
			return upstream.KeyReport{}, err
		}
		defer provider.Close()
		return provider.Check(ctx)
	}
}

// Describe sets what is not known of s without a configuration to what the running server reports.
func (s *Subject) Describe(status *api.Status) {
	s.Issuer, s.DataDir, s.Origins = status.Issuer, status.DataDir, status.Origins
	if !status.NATS.Embedded {
		s.NATS.URL = status.NATS.URL
	}
	for _, p := range status.Providers {
		s.Providers = append(s.Providers, Upstream{Name: p.Name, Issuer: p.Issuer, Check: providerCheck(upstream.Config{
			Name: p.Name, Issuer: p.Issuer, Issuers: p.Issuers, ClientID: "doctor",
		})})
	}
}

// WriteText prints the findings as a table.
func WriteText(w io.Writer, findings []Finding) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\n", f.Level, terminal.Cell(f.Check), terminal.Cell(f.Detail))
		if f.Hint != "" {
			_, _ = fmt.Fprintf(tw, "\t\t→ %s\n", f.Hint)
		}
	}
	_ = tw.Flush()
}
