// Package doctor looks at a broker's surroundings the way an operator would: what answers,
// whose clock is off, what the disk costs, whether a proxy spoils cookies. Each finding
// says what to do about it.
package doctor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/setup"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/internal/httpclient"
	"tokenbroker/upstream"
)

// Level is how bad a finding is.
type Level string

// The levels; only Fail makes the whole a failure.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
	Skip Level = "skip" // could not be looked at from here
)

// Finding is what one check found; Hint says what to do when it is not OK.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Subject is what is looked at. Status is the running server's, or nil.
type Subject struct {
	Issuer  string
	DataDir string
	Origins []string
	// ConfigFile is where the configuration is from, and Warnings what loading it warned of;
	// empty where that is not known.
	ConfigFile string
	Warnings   config.Problems
	NATS       node.NATS
	// NATSKnown says that NATS holds what the broker itself connects with.
	NATSKnown bool
	Providers []Upstream
	Status    *admin.Status
	// StatusErr is why Status is nil although a server was asked.
	StatusErr error
	// Client asks the network; default: 5 s, no redirects.
	Client *http.Client
	// Now is this machine's clock; default time.Now.
	Now func() time.Time
}

// Upstream is one provider. Check asks it for what a sign-in needs, as the broker does.
type Upstream struct {
	Name, Issuer string
	Check        func(context.Context) (upstream.KeyReport, error)
}

// runTimeout bounds a whole run: where nothing answers, each check would wait in turn.
const runTimeout = 30 * time.Second

// Run makes all checks, one after another, within runTimeout.
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
	for _, check := range []func(context.Context, Subject) []Finding{clock, providers, broadcast, files, modes, forwarded, disk} {
		findings = append(findings, check(ctx, s)...)
	}
	if !answered {
		return append(findings, Finding{"cookie", Skip, "the public URL does not answer: cookie and origins were not looked at", "see the issuer's finding"})
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

// server tells whether a broker runs and what it says of itself.
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
			wrong = append(wrong, Finding{"server: " + c.Name, Warn, c.Detail, "the broker serves, but not all of its promise"})
		}
	}
	return append([]Finding{found}, wrong...)
}

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
