package teeth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"touchstone/reports"
	"touchstone/reports/markdown"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
)

// Matrix is the outcome of all trials, as matrix.json holds it.
type Matrix struct {
	SourcesSHA256 string      `json:"sourcesSha256"` // of the specs, faults and registry with which they were played
	Control       string      `json:"control"`       // the verdict without a fault
	Rows          []MatrixRow `json:"rows"`
	Faults        int         `json:"faults"`
	Killed        int         `json:"killed"`
	RowsProven    int         `json:"rowsProven"` // rows that at least one fault turned red
}

// MatrixRow is one requirement with the outcome of each of its faults.
type MatrixRow struct {
	ID       string    `json:"id"`
	Layer    string    `json:"layer"`
	Title    string    `json:"title"`
	Outcomes []Outcome `json:"outcomes"`
}

// NewMatrix joins outcomes to the rows of the registry. A fault without an outcome was not played and is not in the matrix.
func NewMatrix(registry *requirement.Registry, sourcesSHA256, control string, outcomes []Outcome) Matrix {
	matrix := Matrix{SourcesSHA256: sourcesSHA256, Control: control}
	for _, row := range registry.Rows {
		line := MatrixRow{ID: row.ID, Layer: row.Layer, Title: row.Title}
		proven := false
		for _, fault := range row.Faults {
			at := slices.IndexFunc(outcomes, func(o Outcome) bool { return o.Fault == fault && o.Row == row.ID })
			if at < 0 {
				continue
			}
			line.Outcomes = append(line.Outcomes, outcomes[at])
			matrix.Faults++
			if outcomes[at].Killed {
				matrix.Killed++
				proven = true
			}
		}
		if proven {
			matrix.RowsProven++
		}
		matrix.Rows = append(matrix.Rows, line)
	}
	return matrix
}

// Teeth is the matrix as gate reports take it up.
func (m Matrix) Teeth() verdict.Teeth {
	teeth := verdict.Teeth{SourcesSHA256: m.SourcesSHA256, Rows: map[string]verdict.TeethRow{}}
	for _, row := range m.Rows {
		line := verdict.TeethRow{Killed: []string{}, Survived: []string{}}
		for _, outcome := range row.Outcomes {
			if outcome.Killed {
				line.Killed = append(line.Killed, outcome.Fault)
			} else {
				line.Survived = append(line.Survived, outcome.Fault)
			}
		}
		teeth.Rows[row.ID] = line
	}
	return teeth
}

// Summary is the matrix in one line.
func (m Matrix) Summary() string {
	return fmt.Sprintf("%d of %d faults killed, %d of %d rows proven · sources %.12s",
		m.Killed, m.Faults, m.RowsProven, len(m.Rows), m.SourcesSHA256)
}

// MatrixFile is the matrix as ReadMatrix reads it.
const MatrixFile = "matrix.json"

// Write puts matrix.md, matrix.html, matrix.json and teeth.json into a folder, in place of those of an earlier matrix.
func (m Matrix) Write(dir string) error {
	html, err := m.html()
	if err != nil {
		return err
	}
	matrix, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	teeth, err := json.MarshalIndent(m.Teeth(), "", "  ")
	if err != nil {
		return err
	}
	return reports.WriteFolder(dir, map[string][]byte{
		"matrix.md": m.markdown(), "matrix.html": html, MatrixFile: append(matrix, '\n'), "teeth.json": append(teeth, '\n'),
	})
}

func (m Matrix) markdown() []byte {
	var page bytes.Buffer
	fmt.Fprintf(&page, "# Teeth: %s\n\nControl (no fault): %s\n\n", m.Summary(), cell(m.Control))
	fmt.Fprintf(&page, "| row | fault | outcome | what the row said | other rows of the layer that turned red | time |\n| --- | --- | --- | --- | --- | ---: |\n")
	for _, row := range m.Rows {
		for _, outcome := range row.Outcomes {
			fmt.Fprintf(&page, "| %s %s | `%s` | %s | %s | %s | %.1f s |\n", row.ID, cell(row.Title), outcome.Fault, outcome.word(),
				cell(outcome.Reason), strings.Join(outcome.Others, " "), outcome.Seconds)
		}
	}
	return page.Bytes()
}

// word says what became of the fault.
func (o Outcome) word() string {
	if o.Killed {
		return "killed"
	}
	return "**survived** (" + string(o.State) + ")"
}

// cell makes a text fit a cell of a Markdown table.
func cell(text string) string {
	const most = 120
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return markdown.Text(text)
}

var matrixPage = template.Must(template.New("matrix").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Teeth</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #c8ccd1; --good: #0b6b2e; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --line: #444b52; --good: #6fdd8b; --bad: #ff9492; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto; max-width: 75rem; padding: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
td:last-child, th:last-child { text-align: right; white-space: nowrap; }
.killed { color: var(--good); font-weight: 600; }
.survived { color: var(--bad); font-weight: 600; }
</style>
<main>
<h1>Teeth</h1>
<p>{{.Summary}}</p>
<p>Control (no fault): {{.Control}}</p>
<div class="scroll" role="region" aria-label="Faults by row" tabindex="0">
<table>
<thead><tr><th scope="col">row</th><th scope="col">fault</th><th scope="col">outcome</th><th scope="col">what the row said</th><th scope="col">others red</th><th scope="col">time</th></tr></thead>
<tbody>
{{range $row := .Rows}}{{range .Outcomes}}<tr><th scope="row">{{$row.ID}}</th><td><code>{{.Fault}}</code></td>
<td>{{if .Killed}}<span class="killed">killed</span>{{else}}<span class="survived">survived ({{.State}})</span>{{end}}</td>
<td>{{.Reason}}</td><td>{{range .Others}}{{.}} {{end}}</td><td>{{printf "%.1f s" .Seconds}}</td></tr>
{{end}}{{end}}</tbody>
</table>
</div>
</main>
</html>
`))

func (m Matrix) html() ([]byte, error) {
	var page bytes.Buffer
	err := matrixPage.Execute(&page, m)
	return page.Bytes(), err
}
