package soak

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"mib": mebibytes, "varied": varied, "percent": func(share float64) string { return fmt.Sprintf("%+.1f %%", 100*share) },
	"rate": func(rate float64) string { return fmt.Sprintf("%.2g", rate) }, "ms": func(ms float64) string { return fmt.Sprintf("%.1f ms", ms) },
}).Parse(pageText))

// renderHTML gives one self-contained page that needs no script.
func renderHTML(r *Report, c *Contents) ([]byte, error) {
	page := struct {
		*Report
		Class    string
		Claim    string
		Sentence []string
		Charts   []lineChart
	}{Report: r, Class: strings.ToLower(r.Verdict), Claim: r.claim(), Charts: charts(c.Records)}
	for _, sentence := range r.Controls.sentences() {
		page.Sentence = append(page.Sentence, strings.TrimPrefix(sentence, "- "))
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, page); err != nil {
		return nil, fmt.Errorf("render %s: %w", HTMLFile, err)
	}
	return b.Bytes(), nil
}

// lineChart is a value over time, in the coordinates of its SVG's view box.
type lineChart struct {
	Title, Top, Start, End string
	Lines                  []line
}

type line struct{ Class, Label, Points string }

const (
	chartLeft, chartRight = 70.0, 790.0
	chartTop, chartBottom = 16.0, 150.0
	chartPoints           = 240 // more samples than that share a point, which shows their largest
)

// charts are the timelines of latency and memory; the processes with most samples are shown.
func charts(records []Record) []lineChart {
	timed := byTime(records)
	if len(timed) < 2 {
		return nil
	}
	start, end := timed[0].endedAt(), timed[len(timed)-1].endedAt()
	span := max(end.Sub(start).Seconds(), 1e-9)
	var latency []sample
	memory := map[string][]sample{}
	for i := range timed {
		record := &timed[i]
		at := record.endedAt().Sub(start).Seconds() / span
		latency = append(latency, sample{at, record.Volatile.Millis})
		for process, bytes := range record.Volatile.RSS {
			memory[process] = append(memory[process], sample{at, float64(bytes) / (1 << 20)})
		}
	}
	duration := fmt.Sprintf("%.0f s", span)
	out := []lineChart{drawChart("Time of a run (longest at each point)", "ms", duration, []series{{"all runs", latency}})}
	const most = 6
	names := slices.SortedFunc(maps.Keys(memory), func(a, b string) int {
		if len(memory[a]) != len(memory[b]) {
			return len(memory[b]) - len(memory[a])
		}
		return strings.Compare(a, b)
	})
	var lines []series
	for _, name := range names[:min(len(names), most)] {
		lines = append(lines, series{name, memory[name]})
	}
	if len(lines) > 0 {
		out = append(out, drawChart("Resident memory by process: a leak climbs", "MiB", duration, lines))
	}
	return out
}

type sample struct{ at, value float64 } // at: 0 to 1

type series struct {
	name    string
	samples []sample
}

func drawChart(title, unit, duration string, all []series) lineChart {
	top := 0.0
	for _, s := range all {
		for _, p := range s.samples {
			top = max(top, p.value)
		}
	}
	chart := lineChart{Title: title, Top: fmt.Sprintf("%.0f %s", top, unit), Start: "0", End: duration}
	for i, s := range all {
		largest := map[int]float64{}
		for _, p := range s.samples {
			column := int(p.at * chartPoints)
			largest[column] = max(largest[column], p.value)
		}
		var points strings.Builder
		for _, column := range slices.Sorted(maps.Keys(largest)) {
			x := chartLeft + (chartRight-chartLeft)*float64(column)/chartPoints
			y := chartBottom - (chartBottom-chartTop)*largest[column]/max(top, 1e-9)
			fmt.Fprintf(&points, "%.1f,%.1f ", x, y)
		}
		chart.Lines = append(chart.Lines, line{Class: fmt.Sprintf("line%d", i), Label: s.name, Points: strings.TrimSpace(points.String())})
	}
	return chart
}
