package look

import (
	"fmt"
	"math"
	"strconv"
)

// colors are the colours of the pages that an operator can replace.
type colors struct{ Accent, Background shades }

// shades are a colour on light and on dark pages, as #rrggbb.
type shades struct{ Light, Dark string }

var defaultColors = colors{Accent: shades{"#2858d8", "#8aabff"}, Background: shades{"#f4f5f8", "#101218"}}

// The cards, on which everything but the name and the footer is.
const lightCard, darkCard = "#ffffff", "#191c24"

// css returns the custom properties of the style. The colours are valid.
func (c colors) css() string {
	return ":root{color-scheme:light dark;--card:" + lightCard + ";--text:#1b1e27;--muted:#565c6b;--line:#dfe2ea;--field:#7f8696;--edge:#c5cad6;--input:#fff;" +
		"--bad:#b01c2e;--bad-tint:#fdf0f1;--warn:#8f5600;--warn-tint:#fff7e8;--tint:#f1f3f8;--mark:#14693f;--shadow:0 1px 2px rgb(20 25 40/.05),0 12px 32px -8px rgb(20 25 40/.1);" +
		one(c.Accent.Light, c.Background.Light) + "}\n" +
		"@media (prefers-color-scheme:dark){:root{--card:" + darkCard + ";--text:#e9ebf1;--muted:#a9afbe;--line:#31353f;--field:#787f8f;--edge:#474d5b;--input:#12151c;" +
		"--bad:#ff9198;--bad-tint:#2c1a1f;--warn:#f0b45c;--warn-tint:#2a2217;--tint:#242834;--mark:#66d49d;--shadow:0 1px 2px rgb(0 0 0/.3),0 12px 32px -8px rgb(0 0 0/.5);" +
		one(c.Accent.Dark, c.Background.Dark) + "}}\n"
}

// one returns the properties of one scheme. Text on a colour is black or white, of which one always has a contrast of
// at least 4.5 (WCAG 2.2, success criterion 1.4.3).
func one(accent, background string) string {
	return "--accent:" + accent + ";--on-accent:" + textOn(accent) + ";--page:" + background + ";--on-page:" + textOn(background)
}

func textOn(background string) string {
	for _, text := range []string{"#ffffff", "#0c1224"} {
		if contrast(text, background) >= 4.5 {
			return text
		}
	}
	return "#000000"
}

// checkColor returns an error for a colour that is not #rrggbb, or for an accent that cannot be told from its card
// (WCAG 2.2, success criterion 1.4.11). key is the colour's in brand.yaml.
func checkColor(key, color, card string) error {
	if _, err := luminance(color); err != nil {
		return fmt.Errorf("%s: %q is not a colour; write it as #rrggbb", key, color)
	}
	if card != "" && contrast(color, card) < 3 {
		return fmt.Errorf("%s: %s has a contrast of %.1f to the card (%s); choose a colour with at least 3", key, color, contrast(color, card), card)
	}
	return nil
}

// contrast returns the contrast ratio of two valid colours, 1 to 21 (WCAG 2.2).
func contrast(a, b string) float64 {
	la, _ := luminance(a)
	lb, _ := luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// luminance returns the relative luminance of a colour (WCAG 2.2).
func luminance(color string) (float64, error) {
	if len(color) != 7 || color[0] != '#' {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(color[1:], 16, 32)
	if err != nil {
		return 0, err
	}
	channel := func(shift int) float64 {
		v := float64(n>>shift&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0), nil
}
