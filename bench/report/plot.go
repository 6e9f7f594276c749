package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// PlotFormats are the file name extensions that [Report.Plot] supports.
var PlotFormats = []string{".svg", ".png"}

// The size of a panel, and the resolution of a PNG.
const (
	panelWidth  = 20 * vg.Centimeter
	panelHeight = 11 * vg.Centimeter
	pngDPI      = 110
)

// Plot draws the report into a file whose name ends in one of [PlotFormats]. Depending on the runs,
// it draws latency percentiles, throughput and latency over concurrency, latency over the offered
// rate, or cost over size.
func (r *Report) Plot(file string) error {
	panels, err := r.panels()
	if err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	width, height := panelWidth, panelHeight*vg.Length(len(panels))
	switch strings.ToLower(filepath.Ext(file)) {
	case ".svg":
		canvas = vgsvg.New(width, height)
	case ".png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(pngDPI))}
	default:
		return fmt.Errorf("drawing %s: want a name that ends in %s", file, strings.Join(PlotFormats, " or "))
	}
	column := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		column[i] = []*plot.Plot{p}
	}
	const gap, margin = vg.Millimeter * 5, vg.Millimeter * 4
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: gap, PadTop: margin, PadBottom: margin, PadLeft: margin, PadRight: margin * 2}
	for i, c := range plot.Align(column, tiles, draw.New(canvas)) {
		panels[i].Draw(c[0])
	}
	var picture bytes.Buffer
	if _, err := canvas.WriteTo(&picture); err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	_, err = f.Write(withFallbacks(picture.Bytes()))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	return nil
}

// withFallbacks adds to an SVG fonts of the same widths, for machines that lack the first one.
func withFallbacks(picture []byte) []byte {
	const family = "font-family:Liberation Sans"
	return bytes.ReplaceAll(picture, []byte(family), []byte(family+",Arial,Helvetica,sans-serif"))
}

// panels returns the plots to draw, one above the other.
func (r *Report) panels() ([]*plot.Plot, error) {
	switch {
	case len(r.Runs) == 0:
		return nil, errors.New("nothing was measured")
	case r.Knee != nil:
		return r.ramp()
	case r.Growth != nil:
		return r.growth()
	case len(r.sweep()) > 1:
		return r.concurrency()
	default:
		return r.percentiles()
	}
}

// The colours can also be distinguished by colour-blind people (Okabe and Ito's palette).
var (
	colours = []color.Color{
		color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
		color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
		color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
		color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
		color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
		color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
	}
	floorColour = color.Gray{Y: 0x60}
	limitColour = color.RGBA{R: 0xb0, G: 0x20, B: 0x20, A: 0xff}
	dashes      = []vg.Length{vg.Points(5), vg.Points(3)}
)

// newPlot returns an empty panel in the common style. The machine is named below the title.
func (r *Report) newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	server := "own server in the same process"
	if !r.Target.Own {
		server = r.Target.URL
	}
	p.Title.Text = fmt.Sprintf("%s\n%s · %d cores · %s · %s", title, r.Machine.CPU, r.Machine.Cores, r.Machine.Go, server)
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.X.Label.Padding, p.Y.Label.Padding = vg.Points(4), vg.Points(4)
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Font.Variant = "Sans"
		style.Font.Size = vg.Points(11)
	}
	p.Title.TextStyle.Font.Size = vg.Points(12)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(8), vg.Points(-4)
	p.Legend.ThumbnailWidth = vg.Points(24)
	p.Legend.Padding = vg.Points(2)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 0xdd}, color.Gray{Y: 0xdd}
	p.Add(grid)
	return p
}

// lineOf draws xys, with a mark at each point if marked is true, and adds it to the legend if it
// has a name.
func lineOf(p *plot.Plot, name string, xys plotter.XYs, c color.Color, dashed, marked bool) error {
	line, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, vg.Points(1.8)
	if dashed {
		line.Dashes = dashes
	}
	p.Add(line)
	if !marked {
		if name != "" {
			p.Legend.Add(name, line)
		}
		return nil
	}
	points, err := plotter.NewScatter(xys)
	if err != nil {
		return err
	}
	points.Color, points.Radius, points.Shape = c, vg.Points(3), draw.CircleGlyph{}
	p.Add(points)
	p.Legend.Add(name, line, points)
	return nil
}

// level draws a horizontal line over the whole panel.
func level(p *plot.Plot, name string, at float64, from, to float64, c color.Color) error {
	return lineOf(p, name, plotter.XYs{{X: from, Y: at}, {X: to, Y: at}}, c, true, false)
}

// logarithmic makes an axis logarithmic around the values that it shows. label formats the ticks.
// An axis without a value above 0 is not changed.
func logarithmic(axis *plot.Axis, low, high float64, label func(float64) string) {
	if !(low > 0) || !(high > 0) {
		return
	}
	axis.Min, axis.Max = around(low, high)
	axis.Scale = plot.LogScale{}
	axis.Tick.Marker = logTicks{label}
}

// around extends a range to the next 1, 2 or 5 times a power of ten on both sides.
func around(low, high float64) (from, to float64) {
	for _, step := range steps(low/10, high*10) {
		if step <= low*0.999 {
			from = step
		}
		if to == 0 && step >= high*1.001 {
			to = step
		}
	}
	return from, to
}

// steps returns the 1, 2 and 5 times a power of ten from low to high.
func steps(low, high float64) []float64 {
	var out []float64
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for _, digit := range []float64{1, 2, 5} {
			if v := digit * math.Pow(10, power); v >= low*0.999 && v <= high*1.001 {
				out = append(out, v)
			}
		}
	}
	return out
}

// logTicks has ticks at 1, 2 and 5 times the powers of ten, or only at the powers if those are
// enough.
type logTicks struct{ label func(float64) string }

// Ticks implements [plot.Ticker].
func (t logTicks) Ticks(low, high float64) []plot.Tick {
	const many = 12
	values := steps(low, high)
	var ticks []plot.Tick
	for _, v := range values {
		tick := plot.Tick{Value: v, Label: t.label(v)}
		if power := math.Log10(v); len(values) > many && math.Abs(power-math.Round(power)) > 1e-6 {
			tick.Label = "" // a minor tick
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// count formats a number: 500, 10 k, 2 M.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return trim(v/1e6) + " M"
	case v >= 1e4:
		return trim(v/1e3) + " k"
	}
	return trim(v)
}

// duration formats microseconds: 50 ns, 1 µs, 20 ms.
func duration(us float64) string {
	switch {
	case us <= 0:
		return "0"
	case us < 0.9999:
		return trim(us*1000) + " ns"
	case us < 999.9:
		return trim(us) + " µs"
	case us < 999.9e3:
		return trim(us/1000) + " ms"
	}
	return trim(us/1e6) + " s"
}

func trim(v float64) string { return fmt.Sprintf("%.4g", v) }
