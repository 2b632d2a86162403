package jinja

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// What is nested or long is refused when it is read.
func TestHostileTemplatesAreRefusedWhenRead(t *testing.T) {
	g := NewWithT(t)
	for name, source := range map[string]string{
		"600,000 nested ifs": strings.Repeat("{% if a %}", 600_000),
		"nested ifs":         strings.Repeat("{% if a %}", 10_000) + strings.Repeat("{% endif %}", 10_000),
		"nested brackets":    "{{ " + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + " }}",
		"nested signs":       "{{ " + strings.Repeat("-", 20_000) + "1 }}",
		"nested nots":        "{{ " + strings.Repeat("not ", 20_000) + "1 }}",
		"a long sum":         "{{ 1" + strings.Repeat("+1", 20_000) + " }}",
		"a long path":        "{{ a" + strings.Repeat(".a", 20_000) + " }}",
		"many filters":       "{{ a" + strings.Repeat("|e", 20_000) + " }}",
		"many conditions":    "{{ 1" + strings.Repeat(" if 1", 20_000) + " }}",
		"nested targets":     "{% for " + strings.Repeat("(", 20_000),
		"filters of a block": "{% filter e" + strings.Repeat("|e", 20_000) + " %}{% endfilter %}",
		"a missing filter":   "{{ a|urlize }}",
		"a missing tag":      `{% include "/etc/hostname" %}`,
		"a missing method":   "{{ a.encode() }}",
		"a missing function": "{{ lipsum(5) }}",
		"no end":             "{% if a %}", "a stray end": "{% endif %}", "half a tag": "{{ a",
		"half a string": "{{ 'a }}", "no comment end": "{# a",
		"a bad assignment": "{% set 1 = 2 %}", "an empty tag": "{{ }}", "break alone": "{% break %}", "an unknown test": "{{ a is nice }}",
	} {
		_, err := Parse(source)
		g.Expect(err).To(HaveOccurred(), name)
		g.Expect(len(err.Error())).To(BeNumerically("<=", maxComplaint), name)
		g.Expect(err.Error()).NotTo(ContainSubstring("\n"), name)
	}
}

// What runs too long or makes too much ends with an error, and little memory is taken until then.
func TestHostileTemplatesEnd(t *testing.T) {
	g := NewWithT(t)
	doubling := strings.Repeat("{% set a = a ~ a %}", 60)
	nesting := "{% set a = [1] %}" + strings.Repeat("{% set a = [a, a] %}", 60)
	for _, c := range []struct {
		name, source string
		want         error
	}{
		{"a loop of 3 million steps", "{% for a in range(100000) %}{% for b in range(30) %}{{ b }}{% endfor %}{% endfor %}", errTooManySteps},
		{"a loop without output", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", nil},
		{"range(10^9)", "{% for a in range(10**9) %}{% endfor %}", nil},
		{"range(10^9) in steps", "{{ range(0, 10**9, 1)|length }}", nil},
		{"a large product", "{{ 'x' * 10**9 }}", errTooManyBytes},
		{"an empty product", "{{ '' * 10**18 }}", errTooManyBytes},
		{"a large list", "{{ [1] * 10**9 }}", errTooManyBytes},
		{"a huge power", "{{ 10**10**10 }}", nil},
		{"doubled text", "{% set a = 'abcdefgh' %}" + doubling, errTooManyBytes},
		{"doubled text in sums", "{% set a = 'abcdefgh' %}" + strings.ReplaceAll(doubling, "~", "+"), errTooManyBytes},
		{"shared lists printed", nesting + "{{ a }}", nil},
		{"shared lists as JSON", nesting + "{{ a|tojson }}", nil},
		{"shared lists compared", nesting + strings.ReplaceAll(nesting, "a", "b") + "{{ a == b }}", errTooManySteps},
		{"shared lists ordered", nesting + strings.ReplaceAll(nesting, "a", "b") + "{{ a < b }}", errTooManySteps},
		{"a wide pad", "{{ 'a'|center(10**9) }}", nil},
		{"a wide pad by a method", "{{ 'a'.ljust(60000000) ~ 'a'.rjust(60000000) }}", errTooManyBytes},
		{"a wide indent", "{{ ('\\n' * 10000)|indent(50000, blank=true) }}", errTooManyBytes},
		{"a wide JSON indent", "{{ [[[1]]]|tojson(indent=60000000) }}", errTooManyBytes},
		{"a wide format", "{{ '%999999999d'|format(1) }}", nil},
		{"many replacements", "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}", errTooManyBytes},
		{"a wide join", "{{ range(100000)|join('x' * 100000) }}", errTooManyBytes},
		{"endless recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", errTooDeep},
		{"a tree of calls", "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(50) }}", errTooManySteps},
		{"growing namespaces", "{% set n = namespace(a=[1]) %}{% for i in range(100) %}{% set n.a = n.a + n.a %}{% endfor %}", errTooManyBytes},
		{"batches", "{{ [1]|batch(60000000, 1)|list|length }}", errTooManyBytes},
		{"slices", "{{ [1]|slice(60000000)|list|length }}", errTooManyBytes},
	} {
		template, err := Parse(c.source)
		g.Expect(err).NotTo(HaveOccurred(), c.name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = template.Render(nil, noon)
		runtime.ReadMemStats(&after)
		g.Expect(err).To(HaveOccurred(), c.name)
		if c.want != nil {
			g.Expect(errors.Is(err, c.want)).To(BeTrue(), "%s: %v", c.name, err)
		}
		// maps of scopes count as no bytes of the limit, and each step may make one
		g.Expect(after.TotalAlloc-before.TotalAlloc).To(BeNumerically("<", 1<<30), c.name)
	}
}
