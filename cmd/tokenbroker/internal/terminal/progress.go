package terminal

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressInterval is the time between two lines of progress.
const progressInterval = time.Second

// Progress reports how many of a number of items are done: on a terminal by a bar, elsewhere by a
// line each second. It is safe for concurrent use.
type Progress struct {
	total   int
	started time.Time

	bars *mpb.Progress // nil without a terminal
	bar  *mpb.Bar

	mu      sync.Mutex // guards the fields below
	out     io.Writer  // if nil, nothing is printed
	done    int
	printed time.Time
}

// NewProgress starts the progress of total items on stderr; with the format [JSON], which belongs to a
// program, only on a terminal. The caller must call [Progress.End], which ends the goroutines of the bar.
func NewProgress(stderr io.Writer, format Format, total int) *Progress {
	now := time.Now()
	p := &Progress{total: total, started: now, printed: now}
	if IsTerminal(stderr) {
		p.drawBar(stderr)
	} else if format == Text {
		p.out = stderr
	}
	return p
}

func (p *Progress) drawBar(out io.Writer) {
	p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithAutoRefresh())
	p.bar = p.bars.AddBar(int64(p.total),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d ")),
		mpb.AppendDecorators(decor.Percentage(), decor.AverageSpeed(0, " %.0f a second"), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))
}

// Add records that n more items are done.
func (p *Progress) Add(n int) {
	if p.bar != nil {
		p.bar.IncrBy(n)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if now := time.Now(); p.out != nil && now.Sub(p.printed) >= progressInterval {
		p.printed = now
		_, _ = fmt.Fprintf(p.out, "%d of %d, %.0f a second\n", p.done, p.total, float64(p.done)/now.Sub(p.started).Seconds())
	}
}

// End leaves the bar as it is and waits for its goroutines.
func (p *Progress) End() {
	if p.bar != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}

// CountingWriter writes to W, counts the bytes, and prints the count on Stderr each second if that is a
// terminal. It is not safe for concurrent use.
type CountingWriter struct {
	W       io.Writer
	Stderr  io.Writer
	Written int64

	printed time.Time
}

// Write implements [io.Writer].
func (c *CountingWriter) Write(b []byte) (int, error) {
	n, err := c.W.Write(b)
	c.Written += int64(n)
	now := time.Now()
	if c.printed.IsZero() {
		c.printed = now
	}
	if now.Sub(c.printed) >= progressInterval && IsTerminal(c.Stderr) {
		c.printed = now
		_, _ = fmt.Fprintf(c.Stderr, "%.1f MiB\n", float64(c.Written)/(1<<20))
	}
	return n, err
}
