package grammar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// pieces are the tokens of the tests: all bytes, and some of several; the last ends a text.
var pieces = func() [][]byte {
	var all [][]byte
	for b := range 256 {
		all = append(all, []byte{byte(b)})
	}
	for _, s := range []string{`{"`, `":`, `": "`, `",`, `"}`, `"name`, "true", "null", "false", "é", "\xf0\x9f", "12", `\"`, "]}", "}}", "[{", " ", ""} {
		all = append(all, []byte(s))
	}
	return append(all, []byte("</s>"))
}()

func vocabulary() *Vocabulary {
	last := int32(len(pieces) - 1)
	return NewVocabulary(len(pieces), func(id int32) []byte { return pieces[id] }, func(id int32) bool { return id == last })
}

func allowed(mask []uint64, id int) bool { return mask[id/64]>>(id%64)&1 == 1 }

// write lets a random model write an answer: after some tokens it hurries to an end. It is "" if it does not come to one.
func write(t *testing.T, g *Grammar, v *Vocabulary, random *rand.Rand) string {
	t.Helper()
	m, err := g.Start(v)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for n := range 3000 {
		mask, err := m.Allowed()
		if err != nil {
			t.Fatal(err)
		}
		var ids []int
		for id := range pieces {
			if allowed(mask, id) {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			t.Fatalf("nothing may follow %q", text)
		}
		id := ids[random.IntN(len(ids))]
		if n > 60 {
			for _, wanted := range []int{len(pieces) - 1, '"', '}', ']', 'n', '0', ' ', 'a'} {
				if allowed(mask, wanted) {
					id = wanted
					break
				}
			}
		}
		if id == len(pieces)-1 {
			return string(text)
		}
		if err := m.Accept(pieces[id]); err != nil {
			t.Fatalf("an allowed token is not accepted: %v", err)
		}
		text = append(text, pieces[id]...)
	}
	return ""
}

// randomSchema draws a schema of the keywords that are supported.
func randomSchema(random *rand.Rand, depth int) map[string]any {
	kinds := []string{"string", "integer", "number", "boolean", "null", "enum", "const", "object", "array", "anyOf", "types", "any", "map"}
	if depth == 0 {
		kinds = kinds[:7]
	}
	switch kind := kinds[random.IntN(len(kinds))]; kind {
	case "string":
		least := random.IntN(4)
		return map[string]any{"type": "string", "minLength": least, "maxLength": least + random.IntN(5), "title": "x"}
	case "enum":
		return map[string]any{"enum": []any{"a\"b", 1.5, nil, true, []any{1, "é\n"}, map[string]any{"k": "v"}}}
	case "const":
		return map[string]any{"const": "fixed"}
	case "object":
		properties, required := map[string]any{}, []any{}
		for i := range random.IntN(6) {
			name := fmt.Sprintf("p%d \"é", i)
			properties[name] = randomSchema(random, depth-1)
			if random.IntN(2) == 0 {
				required = append(required, name)
			}
		}
		s := map[string]any{"type": "object", "properties": properties, "required": required}
		if random.IntN(2) == 0 {
			s["additionalProperties"] = false
		}
		return s
	case "map":
		return map[string]any{"type": "object", "additionalProperties": randomSchema(random, depth-1)}
	case "array":
		least := random.IntN(3)
		return map[string]any{"type": "array", "items": randomSchema(random, depth-1), "minItems": least, "maxItems": least + random.IntN(3)}
	case "anyOf":
		return map[string]any{"anyOf": []any{randomSchema(random, depth-1), randomSchema(random, depth-1)}}
	case "types":
		return map[string]any{"type": []any{"string", "null", "integer"}}
	case "any":
		return map[string]any{}
	default:
		return map[string]any{"type": kind}
	}
}

func TestAnswersValidate(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewPCG(1, 2))
	v := vocabulary()
	ended, schemas := 0, []string{
		`{"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
		   "required": ["v", "next"], "additionalProperties": false}}, "$ref": "#/$defs/node"}`,
		`{"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}}`,
		`{"oneOf": [{"type": "string"}, {"type": "number"}]}`, `{"allOf": [{"type": "boolean"}]}`, `true`, `{"enum": [1, "1"], "type": "string"}`,
	}
	for range 200 {
		data, err := json.Marshal(randomSchema(random, 3))
		g.Expect(err).NotTo(HaveOccurred())
		schemas = append(schemas, string(data))
	}
	for _, schema := range schemas {
		compiled, err := JSON([]byte(schema))
		g.Expect(err).NotTo(HaveOccurred(), schema)
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
		g.Expect(err).NotTo(HaveOccurred())
		compiler := jsonschema.NewCompiler()
		g.Expect(compiler.AddResource("s.json", document)).To(Succeed())
		validator, err := compiler.Compile("s.json")
		g.Expect(err).NotTo(HaveOccurred(), schema)
		for range 5 {
			answer := write(t, compiled, v, random)
			if answer == "" {
				continue
			}
			ended++
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(answer)))
			g.Expect(err).NotTo(HaveOccurred(), "%s\n%q", schema, answer)
			g.Expect(validator.Validate(value)).To(Succeed(), "%s\n%q", schema, answer)
		}
	}
	g.Expect(ended).To(BeNumerically(">", 900), "of 1,030 answers")
}

// A mask has exactly the tokens whose bytes may follow one after another.
func TestMasksAreExact(t *testing.T) {
	g := NewWithT(t)
	compiled, err := JSON([]byte(`{"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}, "required": ["name"]}`))
	g.Expect(err).NotTo(HaveOccurred())
	for _, text := range []string{"", "{", `{"`, `{"name`, `{"name":`, `{"name": "a`, "{\"name\": \"\xc3", `{"name":"a\`, `{"name":"a"`, `{"name":"a","n":1`, `{"name":"a"}`} {
		m, err := compiled.Start(vocabulary())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(m.Accept([]byte(text))).To(Succeed())
		mask, err := m.Allowed()
		g.Expect(err).NotTo(HaveOccurred())
		for id, piece := range pieces[:len(pieces)-1] {
			trial := *m
			fits := len(piece) > 0 && trial.Accept(piece) == nil
			g.Expect(allowed(mask, id)).To(Equal(fits), "%q after %q", piece, text)
		}
		g.Expect(allowed(mask, len(pieces)-1)).To(Equal(text == `{"name":"a"}`), "the end after %q", text)
	}
}

func TestSchemasThatCannotBeHeldToAreRefusedByName(t *testing.T) {
	g := NewWithT(t)
	for schema, name := range map[string]string{
		`{"type": "string", "pattern": "a+"}`:                                       "#/pattern",
		`{"type": "integer", "minimum": 3}`:                                         "#/minimum",
		`{"type": "array", "uniqueItems": true}`:                                    "#/uniqueItems",
		`{"type": "object", "properties": {"a": {"not": {}}}}`:                      "#/properties/a/not",
		`{"type": "object", "patternProperties": {"a": {}}}`:                        "#/patternProperties",
		`{"type": "object", "required": ["a"], "additionalProperties": false}`:      `"a" is required`,
		`{"oneOf": [{"type": "integer"}, {"type": "number"}]}`:                      "#/oneOf",
		`{"allOf": [{}, {}]}`:                                                       "#/allOf",
		`{"type": "string", "maxLength": 100000}`:                                   "#/maxLength",
		`{"type": "string", "minLength": 3, "maxLength": 2}`:                        "minLength",
		`{"$ref": "http://elsewhere/"}`:                                             "#/$ref",
		`{"$ref": "#/$defs/none"}`:                                                  "#/$ref",
		`{"type": "text"}`:                                                          "#/type",
		`{"enum": [1], "type": "string"}`:                                           "no value",
		`false`:                                                                     "satisfy",
		`{"type": "object"`:                                                         "not JSON",
		strings.Repeat(`{"items": `, 200) + `{}` + strings.Repeat(`}`, 200):         "nested",
		`{"type": "array", "items": {"type": "string", "minLength": 4000}, "x": 1}`: "#/x",
	} {
		_, err := JSON([]byte(schema))
		g.Expect(err).To(MatchError(ContainSubstring(name)), schema)
	}
	endless, err := JSON([]byte(`{"$ref": "#"}`))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = endless.Start(vocabulary())
	g.Expect(err).To(HaveOccurred())
}
