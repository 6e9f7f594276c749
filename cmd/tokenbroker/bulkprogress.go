package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressEvery is the pause between two lines of progress.
const progressEvery = time.Second

// bulkProgress tells on stderr how far a file is: by a bar on a terminal, elsewhere by a line
// each second, and not at all where stderr is for JSON. Safe for concurrent use.
type bulkProgress struct {
	total int
	began time.Time

	bars *mpb.Progress // nil without a terminal
	bar  *mpb.Bar

	mu   sync.Mutex // guards what follows
	out  io.Writer  // nil for none
	done int
	told time.Time
}

// newBulkProgress begins; the caller ends it by end. The bar has goroutines of its own.
func newBulkProgress(o *operator, total int) *bulkProgress {
	now := time.Now()
	p := &bulkProgress{total: total, began: now, told: now}
	if o.onTerminal() {
		p.drawBar(o.stderr)
	} else if o.format == outputText {
		p.out = o.stderr
	}
	return p
}

func (p *bulkProgress) drawBar(out io.Writer) {
	p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithAutoRefresh())
	p.bar = p.bars.AddBar(int64(p.total),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d ")),
		mpb.AppendDecorators(decor.Percentage(), decor.AverageSpeed(0, " %.0f a second"), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))
}

// add says that n more are done.
func (p *bulkProgress) add(n int) {
	if p.bar != nil {
		p.bar.IncrBy(n)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if now := time.Now(); p.out != nil && now.Sub(p.told) >= progressEvery {
		p.told = now
		_, _ = fmt.Fprintf(p.out, "%d of %d, %.0f a second\n", p.done, p.total, float64(p.done)/now.Sub(p.began).Seconds())
	}
}

// end leaves the bar as it is and waits for its goroutines.
func (p *bulkProgress) end() {
	if p.bar != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}
