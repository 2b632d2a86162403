package jinja

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// renderings may name another file that testdata/render.py made, such as one of public templates.
var renderings = flag.String("renderings", "testdata/constructs.json", "file made by testdata/render.py")

// noon is the time that testdata/render.py gives templates.
var noon = time.Date(2024, 7, 6, 15, 4, 5, 0, time.UTC)

type rendering struct {
	Template     string
	Conversation string
	Want         *string // nil if Jinja2 fails
	Fails        string
}

// variablesOf reads the variables of the conversations of the tests.
func variablesOf(t *testing.T) map[string]map[string]Value {
	t.Helper()
	data, err := os.ReadFile("testdata/conversations.json")
	if err != nil {
		t.Fatal(err)
	}
	var conversations []struct {
		Name      string
		Variables map[string]json.RawMessage
	}
	if err := json.Unmarshal(data, &conversations); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]Value{}
	for _, c := range conversations {
		variables := map[string]Value{"bos_token": Own("<s>"), "eos_token": Own("</s>")}
		for name, raw := range c.Variables {
			if variables[name], err = FromJSON(raw); err != nil {
				t.Fatal(err)
			}
		}
		all[c.Name] = variables
	}
	return all
}

// Every template renders as Jinja2 rendered it, fails where Jinja2 fails, or is refused when it is read.
func TestRenderingsAreThoseOfJinja2(t *testing.T) {
	data, err := os.ReadFile(*renderings)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Sources map[string]string
		Cases   []rendering
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	conversations := variablesOf(t)
	equal, failing, refused := 0, 0, map[string]bool{}
	for _, c := range file.Cases {
		template, err := Parse(file.Sources[c.Template])
		if err != nil {
			if !refused[c.Template] {
				t.Logf("%s is refused: %v", c.Template, err)
			}
			if len(err.Error()) > maxComplaint {
				t.Errorf("%s: a refusal of %d bytes", c.Template, len(err.Error()))
			}
			refused[c.Template] = true
			continue
		}
		got, err := template.Render(conversations[c.Conversation], noon)
		switch {
		case c.Want == nil && err != nil:
			failing++
		case c.Want == nil:
			t.Errorf("%s, %s: Jinja2 fails (%s), but got %q", c.Template, c.Conversation, c.Fails, got.Text)
		case err != nil:
			t.Errorf("%s, %s: %v", c.Template, c.Conversation, err)
		case got.Text != *c.Want:
			t.Errorf("%s, %s: %s", c.Template, c.Conversation, difference(got.Text, *c.Want))
		default:
			equal++
		}
	}
	t.Logf("%d renderings: %d equal, %d fail as in Jinja2, %d templates of %d refused", len(file.Cases),
		equal, failing, len(refused), len(file.Sources))
	NewWithT(t).Expect(equal).To(BeNumerically(">", 0), "nothing was compared")
}

// difference shows where two texts part.
func difference(got, want string) string {
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	around := func(s string) string { return s[max(0, at-30):min(len(s), at+50)] }
	shown, _ := json.Marshal(map[string]any{"byte": at, "got": around(got), "want": around(want)})
	return string(shown)
}
