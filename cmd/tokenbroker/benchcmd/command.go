// Package benchcmd is the command line of tokenbroker-bench. It is not in cmd/tokenbroker-bench,
// because it starts brokers with packages of cmd/tokenbroker/internal, and because the tests of the
// documents run it.
package benchcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	benchreport "tokenbroker/bench/report"
	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/buildinfo"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/validator"
)

// bencher has the settings that the benchmark commands share.
type bencher struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	format         terminal.Format

	url, username, clientID, nats, natsUser, tempDir, plot string
	passwordStdin                                          bool
	warmup, duration                                       time.Duration
	turns                                                  int
}

// The environment variables of the secrets for a server at a URL. Each also exists with the suffix
// _FILE, for a file that contains the secret.
const (
	envBenchPassword     = "TOKENBROKER_BENCH_PASSWORD"
	envBenchClientSecret = "TOKENBROKER_BENCH_CLIENT_SECRET"
	envBenchNATSPassword = "TOKENBROKER_BENCH_NATS_PASSWORD"
)

const benchHelp = `

Without --url a server is started in this process, on free ports, with a temporary store and
an embedded NATS server; a running dev or serve is not disturbed. With --url the load goes to
that server: --username signs in, with --password-stdin, ` + envBenchPassword + ` or the
file ` + envBenchPassword + `_FILE.

Each number is compared with a floor that is measured in the same run, in alternation. Compare
ratios, not times of two machines. Ctrl-C prints the results until then.`

// Main runs the command line and returns the exit code. If ctx ends early, the results until then
// are printed. Main sets the process's umask to 077, as the broker that it starts expects.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	syscall.Umask(0o077)
	root := benchCommand(stdin, stdout, stderr)
	terminal.Root(root, args, stdout, stderr)
	if cmd, err := root.ExecuteContextC(ctx); err != nil {
		return terminal.Report(stderr, cmd, err, terminal.Describe(err))
	}
	return terminal.ExitOK
}

func benchCommand(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	b := &bencher{stdin: stdin, stdout: stdout, stderr: stderr}
	cmd := terminal.Group("tokenbroker-bench", "Measure this machine or a server, and compare each number with its floor",
		"Measure validation, refreshes, how fast a log-off reaches the services, and where the knee is."+benchHelp,
		validateCommand(b), refreshCommand(b), propagationCommand(b), capacityCommand(b), clusterCommand(b))
	flags := cmd.PersistentFlags()
	flags.StringVar(&b.url, "url", "", "measure the server with this issuer URL, instead of the benchmark's own server")
	flags.StringVar(&b.username, "username", "", "the user who signs in at --url and has all sessions")
	flags.BoolVar(&b.passwordStdin, "password-stdin", false, "read the password of --username from standard input")
	flags.StringVar(&b.tempDir, "temp-dir", "", "directory of the own server's temporary store, which selects the measured disk (default: the system's)")
	flags.DurationVar(&b.warmup, "warmup", time.Second, "time before each measurement that is not measured")
	flags.DurationVar(&b.duration, "duration", 5*time.Second, "time of each measurement; its floor takes half as long again")
	flags.IntVar(&b.turns, "turns", 4, "how often a measurement and its floor alternate")
	flags.StringVar(&b.plot, "plot", "", "draw the results into this `FILE`, .svg or .png")
	terminal.OutputFlag(cmd, &b.format)
	return cmd
}

// serviceFlags adds the flags of the benchmarks with validators. Their usage begins with when, the flag that they need, if any.
func (b *bencher) serviceFlags(cmd *cobra.Command, when string) {
	flags := cmd.Flags()
	flags.StringVar(&b.clientID, "client-id", "", when+"the confidential client of the validators (secret: "+envBenchClientSecret+", or the file "+envBenchClientSecret+"_FILE)")
	flags.StringVar(&b.nats, "nats", "", when+"the NATS server of the validators' subscriptions (default: they subscribe over HTTP)")
	flags.StringVar(&b.natsUser, "nats-user", "", "with --nats: the user (password: "+envBenchNATSPassword+", or the file "+envBenchNATSPassword+"_FILE)")
}

// run checks the flags, starts or finds the server, measures and prints the report.
func (b *bencher) run(ctx context.Context, name string, realPasswords bool, measure func(context.Context, *benchrun.Bench) error) error {
	if err := errors.Join(b.check(), b.checkServer()); err != nil {
		return err
	}
	server, stop, err := b.server(ctx, realPasswords)
	if err != nil {
		return benchError(err)
	}
	return b.runAt(ctx, name, server, stop, cmp.Or(b.tempDir, os.TempDir()), measure)
}

// runAt measures a server, prints the report and stops the server. dir is on the disk whose time of a sync is reported.
func (b *bencher) runAt(ctx context.Context, name string, server *benchrun.Server, stop func() error, dir string, measure func(context.Context, *benchrun.Bench) error) error {
	r := &benchreport.Report{
		V: benchreport.Version, Bench: name, StartedAt: time.Now().UTC(), Runs: []benchreport.Run{},
		Machine: benchrun.Machine(ctx, buildinfo.Read().String(), dir), Target: benchreport.Target{Own: server.Own(), URL: server.URL()},
	}
	progress := newBenchProgress(b.stderr)
	began := time.Now()
	err := measure(ctx, &benchrun.Bench{
		Server: server, Report: r, Progress: progress, Warmup: b.warmup, Duration: b.duration, Turns: b.turns,
	})
	r.TookS = time.Since(began).Seconds()
	r.Interrupted = ctx.Err() != nil
	progress.close()
	stopErr := stop()
	if err != nil && !r.Interrupted && len(r.Runs) == 0 {
		return benchError(errors.Join(err, stopErr))
	}
	return errors.Join(b.emit(r), outcome(r, benchError(err)), stopErr)
}

// emit prints the report and draws the plot.
func (b *bencher) emit(r *benchreport.Report) error {
	err := terminal.Emit(b.stdout, b.format, r, r.WriteText)
	if b.plot == "" || len(r.Runs) == 0 {
		return err
	}
	return errors.Join(err, r.Plot(b.plot))
}

// outcome returns the error of a benchmark that has results: the reason why it ended early, or the
// first failed request if none should fail.
func outcome(r *benchreport.Report, err error) error {
	if r.Interrupted {
		return errors.New("interrupted: the report has the results until then")
	}
	if err != nil || r.Bench == "capacity" { // a ramp continues until requests fail
		return err
	}
	if c := r.Cluster; c != nil {
		if n, first := c.Broken(); n > 0 {
			return fmt.Errorf("%d times a broker broke what it had acknowledged, first: %s", n, first)
		}
	}
	for _, run := range r.Runs {
		if run.Errors > 0 {
			return fmt.Errorf("%s: %d requests failed, the first with: %s", run.Name, run.Errors, run.FirstError)
		}
	}
	return nil
}

// checkService refuses --url without the account that validators need at that server.
func (b *bencher) checkService() error {
	if b.url != "" && b.clientID == "" {
		return fmt.Errorf("%w: a validator fetches revocations from the server: with --url, name a confidential client by --client-id, and set its secret by %s or the file %s_FILE", terminal.ErrUsage, envBenchClientSecret, envBenchClientSecret)
	}
	return nil
}

// server starts the benchmark's own server, or finds the server at --url.
func (b *bencher) server(ctx context.Context, realPasswords bool) (*benchrun.Server, func() error, error) {
	if b.url == "" {
		return benchrun.StartOwn(ctx, benchrun.OwnConfig{
			TempDir: b.tempDir, Version: buildinfo.Read().String(), Warn: b.stderr, RealPasswords: realPasswords,
			Fatal: func(err error) {
				_, _ = fmt.Fprintf(b.stderr, "tokenbroker-bench: the bench's own server has to end at once: %v\n", err)
				os.Exit(terminal.ExitFailed)
			},
		})
	}
	options, err := b.options()
	if err != nil {
		return nil, nil, err
	}
	if options.Account.Password, err = b.password(ctx); err != nil {
		return nil, nil, err
	}
	server, err := benchrun.At(ctx, options)
	if err != nil {
		return nil, nil, err
	}
	return server, func() error { server.Close(); return nil }, nil
}

// options returns the server at --url and the accounts of its services.
func (b *bencher) options() (options benchrun.Options, err error) {
	options = benchrun.Options{URL: b.url, Account: benchrun.Account{Username: b.username}}
	if b.clientID != "" {
		options.Service = validator.Client{ID: b.clientID}
		if options.Service.Secret, err = secretOf(envBenchClientSecret); err != nil {
			return options, err
		}
	}
	if b.nats != "" {
		options.NATS = benchrun.NATS{URL: b.nats, User: b.natsUser}
		options.NATS.Password, err = secretOf(envBenchNATSPassword)
	}
	return options, err
}

// check refuses invalid flags.
func (b *bencher) check() error {
	switch {
	case b.duration < 10*time.Millisecond || b.warmup < 0:
		return fmt.Errorf("%w: --duration and --warmup: want at least 10ms, and nothing negative", terminal.ErrUsage)
	case b.turns < 1 || b.turns > 100:
		return fmt.Errorf("%w: --turns %d: want 1 to 100", terminal.ErrUsage, b.turns)
	case b.nats == "" && b.natsUser != "":
		return fmt.Errorf("%w: --nats-user is the user of a service at --nats: also set --nats", terminal.ErrUsage)
	case b.plot != "" && !slices.Contains(benchreport.PlotFormats, strings.ToLower(filepath.Ext(b.plot))):
		return fmt.Errorf("%w: --plot %q: want a name that ends in %s", terminal.ErrUsage, b.plot, strings.Join(benchreport.PlotFormats, " or "))
	}
	return nil
}

// checkServer refuses flags that do not fit the benchmark's own server, or the one at --url.
func (b *bencher) checkServer() error {
	switch {
	case b.url == "" && (b.username != "" || b.passwordStdin || b.clientID != "" || b.nats != ""):
		return fmt.Errorf("%w: --username, --password-stdin, --client-id and --nats require --url: the benchmark's own server has its own", terminal.ErrUsage)
	case b.url != "" && b.tempDir != "":
		return fmt.Errorf("%w: --temp-dir is only for the benchmark's own server, not for --url", terminal.ErrUsage)
	}
	return nil
}

// benchError makes an error about the settings of a benchmark a usage error.
func benchError(err error) error {
	if errors.Is(err, benchrun.ErrUsage) {
		return fmt.Errorf("%w: %w", terminal.ErrUsage, err)
	}
	return err
}

// benchProgress shows the progress of a benchmark on a terminal, with a bar for each phase. Without
// a terminal it shows nothing. Add is safe for concurrent use.
type benchProgress struct {
	bars *mpb.Progress // nil without a terminal
	bar  *mpb.Bar
}

var _ benchrun.Progress = (*benchProgress)(nil)

// newBenchProgress starts the progress display; the caller closes it. The bars run in their own goroutines.
func newBenchProgress(stderr io.Writer) *benchProgress {
	if !terminal.IsTerminal(stderr) {
		return &benchProgress{}
	}
	return &benchProgress{bars: mpb.New(mpb.WithOutput(stderr), mpb.WithWidth(40), mpb.WithAutoRefresh())}
}

// Begin implements [benchrun.Progress].
func (p *benchProgress) Begin(what string, steps int) {
	if p.bars != nil {
		p.bar = p.bars.AddBar(int64(max(steps, 1)), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(what+" ")), mpb.AppendDecorators(decor.Percentage(), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	}
}

// Add implements [benchrun.Progress].
func (p *benchProgress) Add(steps int) {
	if p.bars != nil {
		p.bar.IncrBy(steps)
	}
}

// End implements [benchrun.Progress]. It removes the bar.
func (p *benchProgress) End() {
	if p.bars != nil {
		p.bar.Abort(true)
	}
}

// close waits for the bars' goroutines.
func (p *benchProgress) close() {
	if p.bars != nil {
		p.bars.Wait()
	}
}
