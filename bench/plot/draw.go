package main

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	width  = 18 * vg.Centimeter
	height = 10 * vg.Centimeter
)

var (
	// Okabe and Ito's palette, which colour-blind people can also distinguish.
	colours = []color.Color{
		color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
		color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
		color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
		color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	}
	greys = []color.Color{color.Gray{Y: 0x60}, color.Gray{Y: 0x9a}}
)

// draw writes the figure into a file. The extension of its name selects the format.
func (f figure) draw(curves []curve, cpu, file string) error {
	p := plot.New()
	p.Title.Text = f.title
	if cpu != "" {
		p.Title.Text += "\n" + cpu
	}
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = f.x, f.y
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Font.Variant, style.Font.Size = "Sans", vg.Points(10)
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizes{}
	if !f.linear {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, sizes{}
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(8), vg.Points(-4)
	p.Legend.ThumbnailWidth, p.Legend.Padding = vg.Points(24), vg.Points(2)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 0xdd}, color.Gray{Y: 0xdd}
	p.Add(grid)
	var coloured, grey int
	for _, c := range curves {
		line, points, err := plotter.NewLinePoints(c.points)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		line.Width = vg.Points(1.6)
		if c.floor {
			line.Color, line.Dashes = greys[grey%len(greys)], []vg.Length{vg.Points(5), vg.Points(3)}
			grey++
		} else {
			line.Color = colours[coloured%len(colours)]
			coloured++
		}
		points.Color, points.Shape, points.Radius = line.Color, draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(line, points)
		p.Legend.Add(c.name, line, points)
	}
	if f.linear {
		p.Y.Min, p.Y.Max = 0, p.Y.Max*1.6 // room for the legend
	} else {
		p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(p.Y.Min))), math.Pow(10, math.Ceil(math.Log10(p.Y.Max*4)))
	}
	return p.Save(width, height, file)
}

// sizes has ticks at the powers of ten.
type sizes struct{}

// Ticks implements [plot.Ticker].
func (sizes) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for digit := 1.0; digit < 10; digit++ {
			value := digit * math.Pow(10, power)
			if value < low*0.999 || value > high*1.001 {
				continue
			}
			tick := plot.Tick{Value: value}
			if digit == 1 {
				tick.Label = label(value)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

// label formats a size as 100, 10 k or 1 M.
func label(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.4g M", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4g k", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
