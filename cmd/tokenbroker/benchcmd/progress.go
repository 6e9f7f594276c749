package benchcmd

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"tokenbroker/cmd/tokenbroker/internal/benchrun"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// benchProgress shows on a terminal how far a bench is, a bar for each phase; elsewhere
// nothing. Add is safe for concurrent use.
type benchProgress struct {
	bars *mpb.Progress // nil without a terminal
	bar  *mpb.Bar
}

var _ benchrun.Progress = (*benchProgress)(nil)

// newBenchProgress begins; the caller closes it. The bars have goroutines of their own.
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

// End implements [benchrun.Progress]: the bar goes away.
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
