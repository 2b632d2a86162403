// Package jinja renders chat templates: Jinja2 as Hugging Face transformers sets it up (ImmutableSandboxedEnvironment with
// trim_blocks and lstrip_blocks, break and continue, the tag generation, tojson without HTML escapes, raise_exception and
// strftime_now). What is missing is refused when a template is read, not when it runs.
//
// Two things are not in Jinja2, and are why this is no library's engine, beside that those tried (gonja 2.9.1,
// ardanlabs/jinja 1.8.0) render many public templates otherwise than Jinja2; testdata/render.py makes what an engine can be held
// against. A rendering has limits of steps, bytes and depth,
// so that a hostile template ends soon. And a text remembers which of its bytes came from the data: what a message says can
// never become a control token of the model.
package jinja

import (
	"errors"
	"strings"
	"time"
)

// Template is a template that was read. It does not change; it may be rendered from any goroutine.
type Template struct {
	body    []statement
	library *library
}

// maxComplaint bounds the line that says why a template is refused.
const maxComplaint = 120

// Parse reads a template. The error is one line of at most 120 bytes that names what is wrong or missing.
func Parse(source string) (*Template, error) {
	library := newLibrary()
	body, err := parse(source, library)
	if err != nil {
		line := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", " "), "")
		return nil, errors.New(line[:min(len(line), maxComplaint)])
	}
	return &Template{body, library}, nil
}

// Output is a rendering.
type Output struct {
	Text string
	Data []Span // the bytes of Text that came from the data, in order
}

// Render runs the template over variables. An error is a *RaisedError if the template itself refuses the data.
func (t *Template) Render(variables map[string]Value, now time.Time) (Output, error) {
	top := &scope{variables: globals}
	data := top.inner()
	for name, v := range variables {
		data.set(name, v.v)
	}
	r := &run{library: t.library, now: now, out: &builder{}}
	if err := r.execute(t.body, data.inner()); err != nil {
		return Output{}, err
	}
	rendered := r.out.text()
	return Output{rendered.s, rendered.data}, nil
}
