package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	. "github.com/onsi/gomega"

	"touchstone/worker/internal/fake"
)

// boundaries are values of every field of /execute below, at and above its limits, and of the wrong type.
var boundaries = map[string]struct{ accepted, refused []string }{
	"job_id": {[]string{`"j"`, text(128), `"` + strings.Repeat("é", 128) + `"`, `"a b"`}, []string{`""`, text(129), `7`, `null`, `["a"]`, `{}`, `true`}},
	"prompt": {[]string{`"p"`, `"\u0000"`, `"|😀"`}, []string{`""`, text(32769), `7`, `null`, `["a"]`}},
	"max_tokens": {[]string{`1`, `200`, `2.0`, `2e1`},
		[]string{`0`, `-1`, `16777217`, `1.5`, `"1"`, `null`, `true`, `1e30`, `-1e400`, `9223372036854775808`}},
	"temperature":        {[]string{`0`, `0.0`, `2`, `2.0`, `1e-300`}, []string{`-0.0001`, `2.0001`, `"1"`, `null`, `1e300`, `[]`}},
	"top_p":              {[]string{`0`, `0.5`, `1`}, []string{`-0.0001`, `1.0001`, `"1"`, `null`}},
	"top_k":              {[]string{`0`, `1`, `258`}, []string{`-1`, `1.5`, `"1"`, `null`, `1e20`}},
	"min_p":              {[]string{`0`, `0.5`, `1`}, []string{`-0.0001`, `1.0001`, `"0"`, `null`}},
	"repetition_penalty": {[]string{`0.0001`, `1`, `2`}, []string{`0`, `-1`, `2.0001`, `"1"`, `null`}},
	"stop": {[]string{`[]`, `["a","b","c","d"]`, `["` + strings.Repeat("s", 32) + `"]`},
		[]string{`["a","b","c","d","e"]`, `"a"`, `[1]`, `[""]`, `null`, `{}`}},
	"seed":        {[]string{`0`, `18446744073709551615`}, []string{`-1`, `1.5`, `"1"`, `null`, `1e30`, `18446744073709551616000`}},
	"logprobs":    {[]string{`0`, `20`}, []string{`-1`, `21`, `1.5`, `"1"`, `null`}},
	"logits_hash": {[]string{`true`, `false`}, []string{`1`, `"true"`, `null`}},
	"keep":        {[]string{`true`, `false`}, []string{`1`, `"true"`, `null`}},
	"stream":      {nil, []string{`1`, `null`, `{}`}}, // no such field
}

func text(characters int) string { return `"` + strings.Repeat("x", characters) + `"` }

func withField(name, value string) string {
	fields := map[string]json.RawMessage{"job_id": []byte(`"j"`), "prompt": []byte(`"p"`), "max_tokens": []byte(`1`)}
	fields[name] = []byte(value)
	body, err := json.Marshal(fields)
	if err != nil { // such as the number -1e400, which is valid JSON
		panic(err)
	}
	return string(body)
}

// The validator is written by hand, because it lists all errors and is exact; openapi.yaml says the same.
func TestValidationAndOpenAPIAgree(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	schema := openAPI(t).Components.Schemas["Execute"].Value
	tried := 0
	for name, boundary := range boundaries {
		for _, value := range boundary.accepted {
			response := h.do("POST", "/execute", withField(name, value))
			g.Expect(response.StatusCode).To(Equal(200), "%s: %.60s", name, value)
			h.events(response.Body)
			g.Expect(schema.VisitJSON(decoded(withField(name, value)))).To(Succeed(), "%s: %.60s", name, value)
			tried++
		}
		for _, value := range boundary.refused {
			status, body := h.json("POST", "/execute", withField(name, value))
			g.Expect(status).To(Equal(400), "%s: %.60s", name, value)
			g.Expect(body).To(HaveKeyWithValue("code", "INVALID_REQUEST"))
			g.Expect(fieldsOf(body)).To(HaveEach(HavePrefix(name)), "%s: %.60s", name, value)
			g.Expect(fieldsOf(body)).NotTo(BeEmpty())
			g.Expect(schema.VisitJSON(decoded(withField(name, value)))).NotTo(Succeed(), "%s: %.60s", name, value)
			tried++
		}
	}
	g.Expect(tried).To(BeNumerically(">", 80))
	for name := range schema.Properties {
		g.Expect(boundaries).To(HaveKey(name), "a field of openapi.yaml that this table lacks")
	}
}

// What a schema cannot say: the vocabulary, tokens of a stop sequence, exact 64-bit numbers.
func TestValidationBeyondTheSchema(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	for name, value := range map[string]string{
		"top_k": fmt.Sprint(fake.VocabSize + 1), "stop": `["` + strings.Repeat("s", 33) + `"]`, "seed": `18446744073709551616`,
	} {
		status, body := h.json("POST", "/execute", withField(name, value))
		g.Expect(status).To(Equal(400), name)
		g.Expect(fieldsOf(body)).To(HaveEach(HavePrefix(name)))
	}
}

func TestAllBadFieldsAreListed(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	status, body := h.json("POST", "/execute", `{"job_id":"","max_tokens":0,"temperature":3,"stop":["",5],"zzz":1,"aaa":null}`)
	g.Expect(status).To(Equal(400))
	g.Expect(fieldsOf(body)).To(ConsistOf("job_id", "prompt", "max_tokens", "temperature", "stop[0]", "stop[1]", "zzz", "aaa"))
	for _, e := range body["errors"].([]any) {
		g.Expect(e).To(And(HaveKeyWithValue("constraint", Not(BeEmpty())), HaveKeyWithValue("message", Not(BeEmpty())), HaveKey("got")))
	}
	g.Expect(body["message"]).To(ContainSubstring("temperature must be a number from 0 to 2, not 3"))
}

func TestBodiesThatAreNoRequest(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	for _, c := range []struct {
		body, contentType string
		status            int
	}{
		{`{"job_id": `, "application/json", 400},
		{`[]`, "application/json", 400},
		{`null`, "application/json", 400},
		{`{"job_id":"a","prompt":"a","max_tokens":1} {}`, "application/json", 400},
		{`{"job_id":"a","prompt":"a","prompt":"b"}`, "application/json", 400},
		{"{\"job_id\":\"a\",\"prompt\":\"\xff\"}", "application/json", 400},
		{`{"prompt":` + strings.Repeat("[", 100000), "application/json", 400},
		{`prompt=a`, "application/x-www-form-urlencoded", 415},
		{`{"job_id":"a","prompt":"a"}`, "text/plain", 415},
		{`{"job_id":"a","prompt":"` + strings.Repeat("a", 2<<20) + `"}`, "application/json", 413},
		{`{"job_id":"charset","prompt":"a","max_tokens":1}`, "application/json; charset=utf-8", 200},
	} {
		response := h.do("POST", "/execute", c.body, "Content-Type", c.contentType)
		g.Expect(response.StatusCode).To(Equal(c.status), "%.60s", c.body)
		if c.status != 200 {
			var body map[string]any
			g.Expect(json.NewDecoder(response.Body).Decode(&body)).To(Succeed())
			g.Expect(body).To(HaveKeyWithValue("code", "INVALID_REQUEST"))
		}
	}
	g.Expect(h.do("POST", "/execute", "", "Content-Type", "application/json").StatusCode).To(Equal(400), "an empty body")
	running, waiting := h.engine.Counts()
	g.Expect(running+waiting).To(BeNumerically("<=", 1), "only the good request became a job")
}

func TestAPromptBeyondTheContextIsRefusedWithBothCounts(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	status, body := h.json("POST", "/execute", `{"job_id":"a","prompt":"`+strings.Repeat("x", 199)+`","max_tokens":57}`)
	g.Expect(status).To(Equal(400))
	g.Expect(body["message"]).To(And(ContainSubstring("200 tokens"), ContainSubstring("max_tokens is 57"), ContainSubstring("holds 256")))
	g.Expect(h.do("GET", "/jobs/a/events", "").StatusCode).To(Equal(404), "no job is left")
}

func fieldsOf(body map[string]any) []string {
	var names []string
	for _, e := range body["errors"].([]any) {
		names = append(names, e.(map[string]any)["field"].(string))
	}
	return names
}

// decoded reads JSON the way kin-openapi wants it.
func decoded(text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		panic(err)
	}
	return value
}

func openAPI(t *testing.T) *openapi3.T {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return document
}
