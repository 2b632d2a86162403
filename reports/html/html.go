// Package html writes a gate's result as one self-contained page that needs no script: rows unfold to
// their evidence, charts are inline SVG, and colours follow the reader's light or dark setting.
package html

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"touchstone/reports/evidence"
	"touchstone/reports/harmless"
	"touchstone/reports/verdict"
)

//go:embed page.html.tmpl
var pageText string

//go:embed style.css
var style string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// maxEvents is how many events of a transcript the page shows; the file has them all.
const maxEvents = 60

// Encode returns report.html. files holds the content of the evidence by its path in the report.
func Encode(result verdict.Result, files map[string][]byte) ([]byte, error) {
	var buffer bytes.Buffer
	if err := pageTemplate.Execute(&buffer, newPage(result, files)); err != nil {
		return nil, fmt.Errorf("render report.html: %w", err)
	}
	return buffer.Bytes(), nil
}

type page struct {
	verdict.Result
	Style    template.CSS
	Class    string
	Headline string // verdict and score
	Details  []string
	Counts   []count
	Facts    []fact
	First    []row // failed and inconclusive rows
	Layers   []layer
}

type count struct {
	Number int
	State  state
}

type fact struct{ Name, Value string }

type layer struct {
	Name          string
	Passed, Total int
	Rows          []row
}

type row struct {
	verdict.Row
	Look     state
	Observed string
	Teeth    string
	Survived []string
	Time     string
	Details  []spec
}

type spec struct {
	verdict.Spec
	Look         state
	Time         string
	Observations []observation
	Missing      []observation
	Kernels      []kernel
	Transcripts  []transcript
	Files        []file
}

type observation struct{ Name, Value string }

type kernel struct {
	evidence.Kernel
	Worst string
	Bar   float64 // 0 to 100, of the bar's width
	Over  bool    // beyond the bound
}

type transcript struct {
	Name, Path, Request, Response string
	Events                        []evidence.Event
	More                          int
	Chart                         *chart
	Problem                       string
}

type file struct {
	Name, Path, MediaType string
	Size                  int
}

// state is how a state looks: never by colour alone.
type state struct {
	Class, Icon, Text string
}

func look(s verdict.State) state {
	icons := map[verdict.State]string{verdict.Passed: "✓", verdict.Failed: "✕", verdict.NotRun: "–", verdict.Inconclusive: "?", verdict.Unproven: "!"}
	return state{Class: strings.ToLower(strings.ReplaceAll(string(s), " ", "-")), Icon: icons[s], Text: string(s)}
}

func newPage(result verdict.Result, files map[string][]byte) page {
	head, details, _ := strings.Cut(result.Line, " · ")
	p := page{Result: result, Style: template.CSS(style), Class: strings.ToLower(string(result.Verdict)), Headline: head,
		Details: strings.Split(details, " · ")}
	counts := result.Counts
	for i, number := range []int{counts.Failed, counts.Inconclusive, counts.NotRun, counts.Unproven, counts.Passed} {
		p.Counts = append(p.Counts, count{number, look(verdict.States[i])})
	}
	subject := result.Subject
	for _, f := range []fact{
		{"Worker", strings.TrimSpace(subject.Worker + " " + subject.WorkerVersion)},
		{"Worker program", subject.WorkerExecutable}, {"Worker sha256", subject.WorkerSHA256},
		{"Native library", subject.NativeLibrary}, {"Native library sha256", subject.NativeLibrarySHA256},
		{"Dialect", subject.Dialect}, {"Offers", subject.Capabilities}, {"Device", subject.Device}, {"CUDA rows on", subject.CUDADevice},
		{"Model", subject.Model}, {"Model sha256", subject.ModelSHA256}, {"Only claimed", strings.Join(subject.Claims(), ", ")},
		{"Started", result.Started.UTC().Format("2006-01-02 15:04:05 UTC")}, {"Took", duration(result.Ended.Sub(result.Started).Seconds())},
		{"Registry", result.RegistryVersion}, {"Registry sha256", result.RegistrySHA256},
		{"Harness", subject.HarnessVersion}, {"Sources sha256", result.SourcesSHA256},
		{"Order seed", fmt.Sprint(result.Seed)}} {
		if f.Value != "" {
			p.Facts = append(p.Facts, f)
		}
	}
	for _, r := range result.Rows {
		view := newRow(result, r, files)
		if last := len(p.Layers) - 1; last < 0 || p.Layers[last].Name != r.Layer {
			p.Layers = append(p.Layers, layer{Name: r.Layer})
		}
		l := &p.Layers[len(p.Layers)-1]
		l.Rows = append(l.Rows, view)
		if l.Total++; r.State == verdict.Passed {
			l.Passed++
		}
		if r.State == verdict.Failed || r.State == verdict.Inconclusive {
			p.First = append(p.First, view)
		}
	}
	return p
}

func newRow(result verdict.Result, r verdict.Row, files map[string][]byte) row {
	view := row{Row: r, Look: look(r.State), Teeth: "not measured", Time: duration(r.Seconds),
		Observed: strings.Join(r.Reasons, "; ")}
	if partly := r.Partly(); partly != "" {
		view.Look.Text += " " + partly
	}
	if result.TeethMeasured {
		view.Teeth = fmt.Sprintf("%d/%d faults", len(r.Killed), len(r.Faults))
		for _, fault := range r.Faults {
			if !slices.Contains(r.Killed, fault) {
				view.Survived = append(view.Survived, fault)
			}
		}
	}
	for _, s := range r.Specs {
		view.Details = append(view.Details, newSpec(r.ID, s, files))
	}
	if r.State == verdict.Passed {
		view.Observed = observed(r)
	}
	return view
}

func observed(r verdict.Row) string {
	const shown = 4
	first, total := r.Observed(shown)
	for i := range first {
		first[i] = cut(first[i], 80)
	}
	if total > shown {
		first = append(first, fmt.Sprintf("and %d more", total-shown))
	}
	return strings.Join(first, " · ")
}

func newSpec(id string, s verdict.Spec, files map[string][]byte) spec {
	view := spec{Spec: s, Look: look(s.State), Time: duration(s.Seconds)}
	for _, entry := range s.Evidence {
		switch entry.Kind {
		case evidence.KindKernelError:
			view.Kernels = append(view.Kernels, newKernel(*entry.KernelError))
		case evidence.KindTranscript:
			view.Transcripts = append(view.Transcripts, newTranscript(id, entry, files))
		case evidence.KindBlob:
			view.Files = append(view.Files, file{entry.Name, evidence.Path(id, *entry.File), entry.File.MediaType, entry.File.Size})
		case evidence.KindNotRun:
			view.Missing = append(view.Missing, observation{entry.Name, entry.Reason})
		case evidence.KindLogitsHash:
			view.Observations = append(view.Observations, observation{entry.Name + " (logits, sha256)", entry.SHA256})
		default:
			view.Observations = append(view.Observations, observation{entry.Name, strings.TrimSpace(strings.TrimPrefix(entry.String(), entry.Name))})
		}
	}
	return view
}

func newKernel(k evidence.Kernel) kernel {
	view := kernel{Kernel: k, Worst: fmt.Sprint(k.WorstFractionOfBound), Over: true, Bar: 100}
	number, ok := k.WorstFractionOfBound.(json.Number)
	if !ok {
		return view // NaN or infinite
	}
	fraction, err := number.Float64()
	if err != nil {
		return view
	}
	view.Worst, view.Over = fmt.Sprintf("%.3g", fraction), fraction > 1
	view.Bar = 100 * min(fraction/1.25, 1) // the bound stands at 80 % of the width
	return view
}

func newTranscript(id string, entry evidence.Entry, files map[string][]byte) transcript {
	view := transcript{Name: entry.Name, Path: evidence.Path(id, *entry.File)}
	var exchange evidence.Exchange
	if err := json.Unmarshal(files[view.Path], &exchange); err != nil {
		view.Problem = "the transcript cannot be read"
		return view
	}
	view.Request = strings.TrimSpace(fmt.Sprintf("%s %s\n%s", exchange.Method, exchange.URL, cut(exchange.RequestBody, 2000)))
	view.Response = fmt.Sprintf("status %d, %d events, %s", exchange.Status, len(exchange.Events), duration(exchange.ElapsedMS/1000))
	if exchange.ResponseBody != "" {
		view.Response += "\n" + cut(exchange.ResponseBody, 2000)
	}
	if exchange.Error != "" {
		view.Response += "\n" + exchange.Error
	}
	view.Request, view.Response = harmless.Text(view.Request), harmless.Text(view.Response)
	harmless.Each(&exchange.Events, harmless.Text)
	view.Chart = arrivals(exchange.Events)
	view.Events = exchange.Events
	if view.More = len(exchange.Events) - maxEvents; view.More > 0 {
		view.Events = exchange.Events[:maxEvents]
	}
	return view
}

// cut shortens text for the page, and shows that it did; report.json and the evidence have it whole.
func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return fmt.Sprintf("%s… (%d characters more)", string(runes[:n]), len(runes)-n)
	}
	return text
}

func duration(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	case seconds < 60:
		return fmt.Sprintf("%.1f s", seconds)
	default:
		return fmt.Sprintf("%d min %02d s", int(seconds)/60, int(seconds)%60)
	}
}
