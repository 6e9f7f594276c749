// Package doctor checks a broker and its surroundings: the server, the public URL, clocks, providers, NATS, etcd or PostgreSQL,
// the disk, and whether a proxy changes cookies. Each finding has a hint that names the remedy.
package doctor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/printer"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/internal/httpclient"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/pgstore"
	"tokenbroker/upstream"
)

// Level is the severity of a finding.
type Level string

// The levels. Only Fail makes [Failed] report true.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
	Skip Level = "skip" // the check could not be made here
)

// Finding is the result of one check. Hint names the remedy if Level is not OK.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Subject describes the broker to check.
type Subject struct {
	Issuer  string
	DataDir string
	Origins []string
	// ConfigFile is the file of the configuration, and Warnings are the warnings of loading it. Both are
	// empty if no configuration was loaded.
	ConfigFile string
	Warnings   config.Problems
	NATS       node.NATS
	// NATSKnown reports whether NATS holds the credentials of the broker.
	NATSKnown bool
	// Etcd or Postgres configures the store that several brokers share. Both are nil if the configuration has none or is not known.
	Etcd      *etcdstore.Config
	Postgres  *pgstore.Config
	Providers []Upstream
	// Status is the status of the running server. It is nil if no server was asked, or if asking failed.
	Status *admin.Status
	// StatusErr is the error of asking a server for its status.
	StatusErr error
	// Client sends the HTTP requests. If nil, a client with a timeout of 5 s that follows no redirects is used.
	Client *http.Client
	// Now is this machine's clock. If nil, time.Now is used.
	Now func() time.Time
}

// shared reports whether the configuration has a store that several brokers share.
func (s *Subject) shared() bool { return s.Etcd != nil || s.Postgres != nil }

// Upstream is one provider. Check fetches the documents that a sign-in needs, as the broker does.
type Upstream struct {
	Name, Issuer string
	Check        func(context.Context) (upstream.KeyReport, error)
}

// runTimeout bounds a whole run: without answers, each check waits for its own timeout.
const runTimeout = 30 * time.Second

// Run runs all checks, one after another, within runTimeout.
func Run(ctx context.Context, s Subject) []Finding {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	if s.Client == nil {
		s.Client = httpclient.New(nil, 5*time.Second)
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	findings := server(ctx, s)
	public, answered := issuer(ctx, s)
	findings = append(findings, public...)
	for _, check := range []func(context.Context, Subject) []Finding{clock, providers, broadcast, engine, files, modes, forwarded, disk} {
		findings = append(findings, check(ctx, s)...)
	}
	if !answered {
		return append(findings, Finding{"cookie", Skip, "the public URL does not answer: cookie and origins were not checked", "see the finding of the check issuer"})
	}
	return append(findings, browsers(ctx, s)...)
}

// Failed reports whether any finding is a failure.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Fail {
			return true
		}
	}
	return false
}

// server checks whether a broker runs and what its own checks report.
func server(_ context.Context, s Subject) []Finding {
	if s.Status == nil && s.StatusErr != nil {
		return []Finding{{"server", Skip, s.StatusErr.Error(), "run doctor where the broker runs, as its user or root"}}
	}
	if s.Status == nil {
		return []Finding{{"server", Skip, "no broker was asked", "start it, or name it with --data-dir, --admin or --config"}}
	}
	found := Finding{Check: "server", Level: OK, Detail: "pid " + itoa(s.Status.PID) + ", " + s.Status.Ready}
	var wrong []Finding
	for _, c := range s.Status.Checks {
		switch {
		case !c.OK:
			found.Level, found.Hint = Fail, "see the findings below and the broker's log"
			wrong = append(wrong, Finding{"server: " + c.Name, Fail, c.Detail, "see the broker's log"})
		case c.Degraded:
			wrong = append(wrong, Finding{"server: " + c.Name, Warn, c.Detail, "the broker serves requests, but one of its guarantees is degraded: see the broker's log"})
		}
	}
	return append(append([]Finding{found}, wrong...), brokers(s.Status.Cluster, s.Status.Store.Version)...)
}

// brokers checks the brokers that share the store of the running server, which has that version. c is nil if there is only this one.
func brokers(c *admin.ClusterStatus, version int) []Finding {
	if c == nil {
		return nil
	}
	var live []string
	for _, b := range c.Brokers {
		if b.Live {
			live = append(live, b.Name+" ("+b.Version+")")
		}
	}
	findings := []Finding{{Check: "brokers", Level: OK, Detail: fmt.Sprintf("%d running: %s", len(live), strings.Join(live, ", "))}}
	if text := printer.Mixed(*c, version); text != "" {
		findings = append(findings, Finding{"brokers", Warn, text, "complete the upgrade, or go back with all brokers"})
	}
	if len(c.OutdatedServices) > 0 {
		findings = append(findings, Finding{"services", Warn, "do not understand several brokers: " + strings.Join(c.OutdatedServices, ", "),
			"update their validator: while two brokers run, these services become stale"})
	}
	return findings
}

// FromConfig returns the subject that a configuration describes; built is made of the configuration.
func FromConfig(cfg *config.Config, built *setup.Built) Subject {
	s := Subject{
		Issuer: built.Node.PublicURL, DataDir: cfg.DataDir, Origins: cfg.Origins, NATS: built.Node.NATS, NATSKnown: true, Etcd: built.Etcd, Postgres: built.Postgres,
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		p := setup.UpstreamConfig(name, cfg.Providers[name])
		s.Providers = append(s.Providers, Upstream{Name: name, Issuer: p.Issuer, Check: providerCheck(p)})
	}
	return s
}

// providerCheck returns a check of a provider that uses the broker's own code.
func providerCheck(cfg upstream.Config) func(context.Context) (upstream.KeyReport, error) {
	return func(ctx context.Context) (upstream.KeyReport, error) {
		cfg.Logger = slog.New(slog.DiscardHandler) // the findings report the errors
		provider, err := upstream.New(cfg)
		if err != nil {
			return upstream.KeyReport{}, err
		}
		defer provider.Close()
		return provider.Check(ctx)
	}
}

// Describe fills s from the status of the running server, for use without a configuration.
func (s *Subject) Describe(status *admin.Status) {
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
