package bench

import (
	"fmt"
	"html"
	"io"
	"math"
)

// Sizes of the plot in the units of its view box.
const (
	panelWidth, panelHeight = 440, 260
	left, top               = 64, 40
	plotWidth, plotHeight   = 350, 170
)

// point is one measurement of a curve.
type point struct{ x, y float64 }

// SVG draws two curves: the time of a decoded token over its position, and the rate of prefill over the length of the prompt.
// The horizontal axes are logarithmic, the vertical ones begin at 0.
func (r Report) SVG(w io.Writer) error {
	var decode, prefill []point
	for _, d := range r.Decode {
		decode = append(decode, point{float64(max(d.Position, 1)), 1e3 * d.Seconds})
	}
	for _, p := range r.Prefill {
		prefill = append(prefill, point{float64(p.Tokens), p.Rate()})
	}
	out := &writer{w: w}
	out.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", 2*panelWidth, panelHeight)
	out.printf(`<rect width="100%%" height="100%%" fill="white"/>` + "\n")
	out.printf(`<text x="%d" y="16">%s</text>`+"\n", left, html.EscapeString(fmt.Sprintf("%s, %s, %s", r.Model, r.Quant, r.Device)))
	out.curve(0, "decode: ms a token over the position", decode)
	out.curve(panelWidth, "prefill: tokens/s over the tokens of the prompt", prefill)
	out.printf("</svg>\n")
	return out.err
}

// curve draws a panel whose left edge is at x. A panel without points says so.
func (w *writer) curve(x int, title string, points []point) {
	w.printf(`<g transform="translate(%d,%d)"><text y="-6">%s</text>`+"\n", x+left, top, title)
	w.printf(`<path d="M0 0V%d H%d" fill="none" stroke="black"/>`+"\n", plotHeight, plotWidth)
	if len(points) == 0 {
		w.printf(`<text x="20" y="40">not measured</text></g>` + "\n")
		return
	}
	least, most, highest := points[0].x, points[0].x, 0.0
	for _, p := range points {
		least, most, highest = min(least, p.x), max(most, p.x), max(highest, p.y)
	}
	place := func(p point) (float64, float64) {
		along := 0.5
		if most > least {
			along = math.Log(p.x/least) / math.Log(most/least)
		}
		return along * plotWidth, plotHeight * (1 - p.y/(1.1*highest))
	}
	line := ""
	for i, p := range points {
		px, py := place(p)
		line += fmt.Sprintf("%c%.1f %.1f", "ML"[min(i, 1)], px, py)
		w.printf(`<circle cx="%.1f" cy="%.1f" r="3" fill="#2563eb"/><text x="%.1f" y="%.1f" text-anchor="middle">%.3g</text>`+"\n", px, py, px, py-8, p.y)
		w.printf(`<text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`+"\n", px, plotHeight+16, p.x)
	}
	w.printf(`<path d="%s" fill="none" stroke="#2563eb" stroke-width="2"/><text x="-8" y="%d" text-anchor="end">0</text></g>`+"\n", line, plotHeight)
}
