package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// completion asks for a completion with these fields besides the model.
func (h *harness) completion(fields string) map[string]any {
	h.Helper()
	status, answer := h.json("POST", "/v1/completions", `{"model":"fake",`+fields+`}`)
	if status != 200 {
		h.Fatalf("%s: %d %v", fields, status, answer)
	}
	return answer
}

func choicesOf(answer map[string]any) (texts []string) {
	for i, c := range answer["choices"].([]any) {
		if c.(map[string]any)["index"] != float64(i) {
			panic("choices out of order")
		}
		texts = append(texts, c.(map[string]any)["text"].(string))
	}
	return texts
}

func TestSeveralPromptsAndAnswers(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	answer := h.completion(`"prompt":["x|one","x|two"],"n":2,"best_of":2,"seed":5`)
	g.Expect(choicesOf(answer)).To(Equal([]string{"one", "one", "two", "two"}))
	g.Expect(answer["usage"]).To(Equal(map[string]any{"prompt_tokens": 12.0, "completion_tokens": 12.0, "total_tokens": 24.0}))
	g.Expect(choicesOf(h.completion(`"prompt":[[120,124,121],[120,124,122]]`))).To(Equal([]string{"y", "z"}))

	raw, err := io.ReadAll(h.do("POST", "/v1/completions", `{"model":"fake","prompt":["x|one","x|two"],"stream":true,`+
		`"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`).Body)
	g.Expect(err).NotTo(HaveOccurred())
	texts, last := map[float64]string{}, map[string]any{}
	for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
		data := strings.TrimPrefix(block, "data: ")
		if data == "[DONE]" {
			continue
		}
		last = map[string]any{}
		g.Expect(json.Unmarshal([]byte(data), &last)).To(Succeed())
		g.Expect(last["usage"]).To(HaveKeyWithValue("prompt_tokens", 12.0))
		for _, c := range last["choices"].([]any) {
			texts[c.(map[string]any)["index"].(float64)] += c.(map[string]any)["text"].(string)
		}
	}
	g.Expect(texts).To(Equal(map[float64]string{0: "one", 1: "two"}))
	g.Expect(last["usage"]).To(HaveKeyWithValue("completion_tokens", 6.0))
}

func TestAFailedChoiceEndsTheOthers(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	status, answer := h.json("POST", "/v1/completions", `{"model":"fake","prompt":["x","`+strings.Repeat("y", 300)+`"],"n":2}`)
	g.Expect(status).To(Equal(400))
	g.Expect(answer["error"]).To(And(HaveKeyWithValue("code", "context_length_exceeded"),
		HaveKeyWithValue("message", ContainSubstring("maximum context length is 256 tokens"))))
	running, waiting := h.engine.Counts()
	g.Expect(running + waiting).To(BeZero())
}

func TestEcho(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	g.Expect(choicesOf(h.completion(`"prompt":"é|yes","echo":true`))).To(Equal([]string{"é|yesyes"}))
	answer := h.completion(`"prompt":[97,98,124,121],"echo":true,"logprobs":2,"max_tokens":1`)
	c := answer["choices"].([]any)[0].(map[string]any)
	g.Expect(c["text"]).To(Equal("ab|yy"))
	g.Expect(c["logprobs"]).To(Equal(map[string]any{
		"tokens":         []any{"a", "b", "|", "y", "y"},
		"token_logprobs": []any{nil, -98.0, -124.0, -121.0, -0.5}, // the fake's: a token's own number
		"top_logprobs": []any{nil, map[string]any{"b": -98.0, "c": -99.0}, map[string]any{"|": -124.0, "}": -125.0},
			map[string]any{"y": -121.0, "z": -122.0}, map[string]any{"y": -0.5, "z": -1.5}},
		"text_offset": []any{0.0, 1.0, 2.0, 3.0, 4.0},
	}))
	long := make([]string, 100) // more than one step scores at once
	for i := range long {
		long[i] = fmt.Sprint(97 + i%26)
	}
	answer = h.completion(`"prompt":[` + strings.Join(long, ",") + `],"echo":true,"logprobs":0,"max_tokens":0`)
	c = answer["choices"].([]any)[0].(map[string]any)
	logprobs := c["logprobs"].(map[string]any)["token_logprobs"].([]any)
	g.Expect(logprobs).To(HaveLen(100))
	for i, logprob := range logprobs[1:] {
		g.Expect(logprob).To(Equal(-float64(97 + (i+1)%26)))
	}
	g.Expect(answer["usage"]).To(HaveKeyWithValue("completion_tokens", 0.0))
	raw, err := io.ReadAll(h.do("POST", "/v1/completions", `{"model":"fake","prompt":"x|yes","echo":true,"stream":true}`).Body)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(raw)).To(ContainSubstring(`"text":"x|yes"`))
}

func TestEndsOfTextAndBiases(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	g.Expect(choicesOf(h.completion(`"prompt":"x|ab","ignore_eos":true,"max_tokens":6`))).To(Equal([]string{"ab"}))
	g.Expect(h.completion(`"prompt":"x|ab","ignore_eos":true,"max_tokens":6`)["usage"]).To(HaveKeyWithValue("completion_tokens", 6.0))
	g.Expect(choicesOf(h.completion(`"prompt":"x|ab","min_tokens":4,"max_tokens":6`))).To(Equal([]string{"ab~~"}))
	g.Expect(choicesOf(h.completion(`"prompt":"x|abc","logit_bias":{"98":-100}`))).To(Equal([]string{"a~c"}))
}
