package look

import (
	"fmt"
	"math"
	"testing"
)

// The text on the default cards and buttons has the contrast of WCAG 2.2, success criterion 1.4.3.
func TestTextsHaveContrast(t *testing.T) {
	for _, pair := range [][2]string{
		{"#1b1e27", lightCard}, {"#565c6b", lightCard}, {"#b01c2e", "#fdf0f1"}, {"#1b1e27", "#f1f3f8"}, {"#565c6b", "#fff7e8"}, {"#565c6b", "#f1f3f8"},
		{"#e9ebf1", darkCard}, {"#a9afbe", darkCard}, {"#ff9198", "#2c1a1f"}, {"#e9ebf1", "#242834"}, {"#e9ebf1", "#12151c"}, {"#a9afbe", "#2a2217"}, {"#a9afbe", "#242834"},
	} {
		if got := contrast(pair[0], pair[1]); got < 4.5 {
			t.Errorf("%s on %s has a contrast of %.2f", pair[0], pair[1], got)
		}
	}
	for n := 0; n < 1<<24; n += 4099 {
		color := fmt.Sprintf("#%06x", n)
		if got := contrast(textOn(color), color); got < 4.5 {
			t.Errorf("the text on %s has a contrast of %.2f", color, got)
		}
	}
}

func TestContrast(t *testing.T) {
	for pair, want := range map[[2]string]float64{{"#000000", "#ffffff"}: 21, {"#777777", "#ffffff"}: 4.48, {"#ffffff", "#ffffff"}: 1} {
		if got := contrast(pair[0], pair[1]); math.Abs(got-want) > 0.01 {
			t.Errorf("%v: %.2f, want %.2f", pair, got, want)
		}
	}
}
