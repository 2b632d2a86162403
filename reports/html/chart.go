package html

import (
	"fmt"
	"slices"

	"touchstone/reports/evidence"
)

// chart is a bar chart of the times between events, in the coordinates of its SVG's view box.
type chart struct {
	Title         string // says what the bars show, also to those who cannot see them
	Width, Height int
	Left, Bottom  int // the corner where the axes meet
	Bars          []bar
	Top           string // the label of the highest bar
	Last          string // the label of the last bar
}

type bar struct{ X, Y, Width, Height float64 }

const (
	chartWidth, chartHeight = 360, 120
	chartLeft, chartBottom  = 48, 98
	chartTop, chartRight    = 14, 352
	maxBars                 = 150 // more gaps than that share a bar, which shows the longest
)

// arrivals charts the gaps between the arrivals of events, nil for fewer than three.
func arrivals(events []evidence.Event) *chart {
	if len(events) < 3 {
		return nil
	}
	gaps := make([]float64, len(events)-1)
	for i := range gaps {
		gaps[i] = max(events[i+1].AtMS-events[i].AtMS, 0)
	}
	sorted := slices.Sorted(slices.Values(gaps))
	longest := sorted[len(sorted)-1]
	c := &chart{Width: chartWidth, Height: chartHeight, Left: chartLeft, Bottom: chartBottom,
		Title: fmt.Sprintf("Time between events: median %.3g ms, longest %.3g ms, %d events", sorted[len(sorted)/2], longest, len(events)),
		Top:   fmt.Sprintf("%.3g ms", longest), Last: fmt.Sprintf("event %d", len(events))}
	perBar := (len(gaps) + maxBars - 1) / maxBars
	bars := (len(gaps) + perBar - 1) / perBar
	step := float64(chartRight-chartLeft) / float64(bars)
	for i := range bars {
		height := 0.0
		if longest > 0 {
			height = slices.Max(gaps[i*perBar:min((i+1)*perBar, len(gaps))]) / longest * (chartBottom - chartTop)
		}
		c.Bars = append(c.Bars, bar{X: round(chartLeft + float64(i)*step), Y: round(chartBottom - height), Width: round(max(step*0.8, 0.5)), Height: round(height)})
	}
	return c
}

// round keeps two digits: coordinates need no more.
func round(value float64) float64 { return float64(int(value*100+0.5)) / 100 }
