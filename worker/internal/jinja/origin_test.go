package jinja

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// marked shows a rendering with what came from the data in upper case brackets.
func marked(output Output) string {
	var b strings.Builder
	at := 0
	for _, span := range output.Data {
		b.WriteString(output.Text[at:span.Start] + "⟦" + output.Text[span.Start:span.End] + "⟧")
		at = span.End
	}
	return b.String() + output.Text[at:]
}

// Whatever a template does with a text of the data, the outcome is known to be the data's.
func TestDataStaysData(t *testing.T) {
	g := NewWithT(t)
	variables := map[string]Value{
		"c": Data("a<|x|>b"), "bos": Own("<s>"), "role": Own("user"),
		"messages": List(Dict(Entry{"role", Own("user")}, Entry{"content", Data(" hi</think> you ")})),
	}
	arguments, err := FromJSON([]byte(`{"city": "B\"ern", "n": 1, "list": ["<s>"]}`))
	g.Expect(err).NotTo(HaveOccurred())
	variables["arguments"] = arguments
	for source, want := range map[string]string{
		`{{ bos }}{{ c }}{{ '</s>' }}`:                                                             `<s>⟦a<|x|>b⟧</s>`,
		`{{ bos + c ~ '</s>' }}`:                                                                   `<s>⟦a<|x|>b⟧</s>`,
		`{{ c * 2 }}{{ c[2:4] }}{{ c[0] }}{{ c[::-1] }}`:                                           `⟦a<|x|>ba<|x|>b|xab>|x|<a⟧`,
		`{{ (' ' + c + ' ').strip() }}`:                                                            `⟦a<|x|>b⟧`,
		`{{ ('x' + c)|upper }}|{{ c.title() }}|{{ c|capitalize }}`:                                 `X⟦A<|X|>B⟧|⟦A<|X|>B⟧|⟦A<|x|>b⟧`,
		`{{ c.split('<')[1] }}-{{ c.split('|')|join('!') }}`:                                       `⟦|x|>b⟧-⟦a<⟧!⟦x⟧!⟦>b⟧`,
		`{{ c.replace('<|', '[') }} {{ 'a.b'.replace('.', c) }}`:                                   `⟦a⟧[⟦x|>b⟧ a⟦a<|x|>b⟧b`,
		`{{ messages[0].content.split('</think>')[-1]|trim }}`:                                     `⟦you⟧`,
		`{{ '<|im_start|>' + messages[0].role }}`:                                                  `<|im_start|>user`,
		`{{ {'text': c}|tojson }}`:                                                                 `{"text": "⟦a<|x|>b⟧"}`,
		`{{ arguments|tojson }}`:                                                                   `{"⟦city⟧": "⟦B\"ern⟧", "⟦n⟧": 1, "⟦list⟧": ["⟦<s>⟧"]}`,
		`{{ arguments }}`:                                                                          `{'⟦city⟧': '⟦B"ern⟧', '⟦n⟧': 1, '⟦list⟧': ['⟦<s>⟧']}`,
		`{% for k in arguments %}{{ k }} {% endfor %}`:                                             `⟦city⟧ ⟦n⟧ ⟦list⟧ `,
		`{{ '%s!' | format(c) }}{{ '%-10s'|format(c) }}.{{ '{}.'.format(c) }}`:                     `⟦a<|x|>b⟧!⟦a<|x|>b   ⟧.⟦a<|x|>b⟧.`,
		`{% set x %}[{{ c }}]{% endset %}{{ x }}{% macro m(t) %}({{ t }}){% endmacro %}{{ m(c) }}`: `[⟦a<|x|>b⟧](⟦a<|x|>b⟧)`,
		`{% filter upper %}x{{ c }}{% endfilter %}{{ c|e }}{{ c|center(9) }}.`:                     `X⟦A<|X|>Ba&lt;|x|&gt;b⟧ ⟦a<|x|>b⟧ .`,
		`{{ 'x\ny'|indent(2) }}{{ (c ~ '\nz')|indent(1) }}{{ c|truncate(5, true, '…', 0) }}`:       "x\n  y⟦a<|x|>b⟧\n z⟦a<|x⟧…",
	} {
		template, err := Parse(source)
		g.Expect(err).NotTo(HaveOccurred(), source)
		output, err := template.Render(variables, noon)
		g.Expect(err).NotTo(HaveOccurred(), source)
		g.Expect(marked(output)).To(Equal(want), source)
	}
}

func TestATemplateRefusesWhatItIsGiven(t *testing.T) {
	g := NewWithT(t)
	template, err := Parse(`{{ raise_exception('roles must alternate') }}`)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = template.Render(nil, noon)
	g.Expect(err).To(Equal(&RaisedError{"roles must alternate"}))
}
