package api_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"

	"touchstone/worker/api"
	"touchstone/worker/engine"
)

// chatML is the template of the ChatML format, as many models have it.
const chatML = `{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// chatTemplate makes the fake model repeat what the user said after "|".
func chatTemplate(t *testing.T) *api.ChatTemplate {
	t.Helper()
	template, err := api.NewChatTemplate(`{% for message in messages %}{{ message.role }}: {{ message.content }}{% endfor %}`, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func TestChatTemplates(t *testing.T) {
	g := NewWithT(t)
	conversation := []api.Message{{Role: "system", Content: "Be kind."}, {Role: "user", Content: "Hi {{ x }}"}}
	for _, c := range []struct{ source, want string }{
		{chatML, "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi {{ x }}<|im_end|>\n<|im_start|>assistant\n"},
		// Whitespace control, trim_blocks and lstrip_blocks, loop variables, filters and tests.
		{"{{ bos_token }}{%- for m in messages %}\n    {% if m['role'] == 'user' %}\n[{{ loop.index }}] {{ m['content'] | trim }}{{ eos_token }}\n" +
			"    {%- elif loop.first %}\n<<{{ m.content | upper }}>>\n    {% endif %}\n{% endfor %}", "<s><<BE KIND.>>\n[2] Hi {{ x }}</s>"},
		{"{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}" +
			"{% if strftime_now is defined %}clock{% endif %}", "2"},
	} {
		template, err := api.NewChatTemplate(c.source, "<s>", "</s>")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(template.Render(conversation)).To(Equal(c.want), c.source)
	}
	raising, err := api.NewChatTemplate(`{{ raise_exception('roles must alternate') }}`, "", "")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = raising.Render(conversation)
	g.Expect(err).To(MatchError(ContainSubstring("roles must alternate")))
	for _, bad := range []string{`{% if %}`, `{% for x in`, `{{ x`} {
		_, err := api.NewChatTemplate(bad, "", "")
		g.Expect(err).To(HaveOccurred(), bad)
	}
	files, err := api.NewChatTemplate(`{% include "/etc/hostname" %}`, "", "")
	if err == nil {
		_, err = files.Render(conversation)
	}
	g.Expect(err).To(HaveOccurred(), "a template sees no files")
}

func openAIHarness(t *testing.T) (*harness, openai.Client) {
	h := newHarness(t, func(a *api.Options, _ *engine.Options) {
		a.Model.Chat = chatTemplate(t)
		a.APIKey = "key"
	})
	client := openai.NewClient(option.WithBaseURL(h.server.URL+"/v1/"), option.WithAPIKey("key"),
		option.WithHTTPClient(h.client), option.WithMaxRetries(0))
	return h, client
}

func TestOpenAIClientCompletions(t *testing.T) {
	g := NewWithT(t)
	_, client := openAIHarness(t)
	params := openai.CompletionNewParams{
		Model: "fake", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("x|hello")}, MaxTokens: openai.Int(50),
		Logprobs: openai.Int(2), Seed: openai.Int(-5), Temperature: openai.Float(0.5),
		Stop: openai.CompletionNewParamsStopUnion{OfString: openai.String("lo")},
	}
	answer, err := client.Completions.New(t.Context(), params)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(answer.Choices[0].Text).To(Equal("hel"))
	g.Expect(string(answer.Choices[0].FinishReason)).To(Equal("stop"))
	g.Expect(answer.Usage.PromptTokens).To(BeEquivalentTo(8))
	g.Expect(answer.Usage.CompletionTokens).To(BeEquivalentTo(5))
	g.Expect(answer.Choices[0].Logprobs.Tokens).To(Equal([]string{"h", "e", "l", "l", "o"}))
	g.Expect(answer.Choices[0].Logprobs.TokenLogprobs[0]).To(Equal(-0.5))
	g.Expect(answer.Choices[0].Logprobs.TopLogprobs[0]).To(Equal(map[string]float64{"h": -0.5, "i": -1.5}))
	g.Expect(answer.RawJSON()).To(ContainSubstring(`"seed":-5`))

	params.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Completions.NewStreaming(t.Context(), params)
	text, reason, total := "", "", int64(0)
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			text += choice.Text
			reason += string(choice.FinishReason)
		}
		total += stream.Current().Usage.TotalTokens
	}
	g.Expect(stream.Err()).NotTo(HaveOccurred())
	g.Expect([]any{text, reason, total}).To(Equal([]any{"hel", "stop", int64(13)}))

	short, err := client.Completions.New(t.Context(), openai.CompletionNewParams{
		Model: "fake", Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfTokens: []int64{97, 98}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(short.Choices[0].Text).To(Equal("abcdefghijklmnop"), "16 tokens, as OpenAI has it")
	g.Expect(string(short.Choices[0].FinishReason)).To(Equal("length"))
	g.Expect(short.Usage.PromptTokens).To(BeEquivalentTo(2))
}

func TestOpenAIClientChat(t *testing.T) {
	g := NewWithT(t)
	_, client := openAIHarness(t)
	params := openai.ChatCompletionNewParams{
		Model: "fake", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("say|héllo")},
		Logprobs: openai.Bool(true), TopLogprobs: openai.Int(1),
	}
	answer, err := client.Chat.Completions.New(t.Context(), params)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(answer.Choices[0].Message.Content).To(Equal("héllo"))
	g.Expect(string(answer.Choices[0].Message.Role)).To(Equal("assistant"))
	g.Expect(answer.Choices[0].FinishReason).To(Equal("stop"))
	g.Expect(answer.Choices[0].Logprobs.Content).To(HaveLen(6))
	g.Expect(answer.Choices[0].Logprobs.Content[1].Bytes).To(Equal([]int64{0xc3}))
	g.Expect(answer.Choices[0].Logprobs.Content[0].TopLogprobs).To(HaveLen(1))

	params.Logprobs, params.TopLogprobs = openai.Bool(false), openai.Int(0)
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	accumulated := openai.ChatCompletionAccumulator{}
	for stream.Next() {
		g.Expect(accumulated.AddChunk(stream.Current())).To(BeTrue())
	}
	g.Expect(stream.Err()).NotTo(HaveOccurred())
	g.Expect(accumulated.Choices[0].Message.Content).To(Equal("héllo"))
	g.Expect(accumulated.Usage.CompletionTokens).To(BeEquivalentTo(6))
}

func TestOpenAIModels(t *testing.T) {
	g := NewWithT(t)
	_, client := openAIHarness(t)
	list, err := client.Models.List(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(list.Data).To(HaveLen(1))
	model, err := client.Models.Get(t.Context(), "fake")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(model.Created).To(BeEquivalentTo(1700000000))
	_, err = client.Models.Get(t.Context(), "other")
	var failure *openai.Error
	g.Expect(errors.As(err, &failure)).To(BeTrue())
	g.Expect(failure.StatusCode).To(Equal(404))
}

func TestOpenAIRefusesWhatItCannotHonour(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.Model.Chat = chatTemplate(t) })
	for body, param := range map[string]string{
		`{"model":"fake","prompt":"x","n":0}`:                    "n",
		`{"model":"fake","prompt":["x","y"],"n":65}`:             "n",
		`{"model":"fake","prompt":"x","best_of":2}`:              "best_of",
		`{"model":"fake","prompt":"x","max_tokens":0}`:           "max_tokens",
		`{"model":"fake","prompt":"x","logit_bias":{"258":1}}`:   "logit_bias.258",
		`{"model":"fake","prompt":"x","logit_bias":{"5":101}}`:   "logit_bias.5",
		`{"model":"fake","prompt":"x","logit_bias":[5]}`:         "logit_bias",
		`{"model":"fake","prompt":"x","frequency_penalty":2.5}`:  "frequency_penalty",
		`{"model":"fake","prompt":"x","presence_penalty":-3}`:    "presence_penalty",
		`{"model":"fake","prompt":"x","min_tokens":-1}`:          "min_tokens",
		`{"model":"fake","prompt":"x","ignore_eos":1}`:           "ignore_eos",
		`{"model":"fake","prompt":["x",""]}`:                     "prompt[1]",
		`{"model":"fake","prompt":["x",7]}`:                      "prompt[1]",
		`{"model":"fake","prompt":[[1],[]]}`:                     "prompt[1]",
		`{"model":"fake","prompt":[]}`:                           "prompt",
		`{"model":"fake","prompt":[258]}`:                        "prompt[0]",
		`{"model":7,"prompt":"x"}`:                               "model",
		`{"prompt":"x"}`:                                         "model",
		`{"model":"fake","prompt":"x","stream_options":{"x":1}}`: "stream_options.x",
		`{"model":"fake","prompt":"x","mystery":1}`:              "mystery",
		`{"model":"fake","prompt":"x","logprobs":true}`:          "logprobs",
		`{"model":"fake","prompt":"x","temperature":2.5}`:        "temperature",
	} {
		status, answer := h.json("POST", "/v1/completions", body)
		g.Expect(status).To(Equal(400), body)
		g.Expect(answer["error"]).To(And(HaveKeyWithValue("param", param), HaveKeyWithValue("type", "invalid_request_error")), body)
	}
	for body, param := range map[string]string{
		`{"model":"fake","messages":[{"role":"tool","content":"x"}]}`:                                          "messages[0].role",
		`{"model":"fake","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}`:        "messages[0].content[0]",
		`{"model":"fake","messages":[{"role":"user"}]}`:                                                        "messages[0].content",
		`{"model":"fake","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}`:            "tools",
		`{"model":"fake","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}`: "response_format",
		`{"model":"fake","messages":[{"role":"user","content":"x"}],"top_logprobs":3}`:                         "top_logprobs",
	} {
		status, answer := h.json("POST", "/v1/chat/completions", body)
		g.Expect(status).To(Equal(400), body)
		g.Expect(answer["error"]).To(HaveKeyWithValue("param", param), body)
	}
	harmless := `{"model":"fake","prompt":["x|y"],"n":1,"echo":false,"best_of":null,"logit_bias":{},"presence_penalty":0.0,"user":"u","stop":null,"seed":null}`
	status, answer := h.json("POST", "/v1/completions", harmless)
	g.Expect(status).To(Equal(200), "%v", answer)
}

func TestChatWithoutATemplate(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	status, answer := h.json("POST", "/v1/chat/completions", `{"model":"fake","messages":[{"role":"user","content":"x"}]}`)
	g.Expect(status).To(Equal(400))
	g.Expect(answer["error"]).To(HaveKeyWithValue("message", ContainSubstring("no chat template")))
}

func TestOpenAIStreamTellsAFailure(t *testing.T) {
	g := NewWithT(t)
	h, client := openAIHarness(t)
	h.held()
	stream := client.Completions.NewStreaming(t.Context(), openai.CompletionNewParams{
		Model: "fake", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("x")},
	})
	g.Eventually(h.device.OpenSessions).Should(Equal(1))
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		_ = h.engine.Close() // the stream tells
	}()
	for stream.Next() {
	}
	g.Expect(stream.Err()).To(MatchError(ContainSubstring("shut down")))
	<-cancelled
}

func TestModelNames(t *testing.T) {
	g := NewWithT(t)
	ask := func(h *harness, name string) (int, any) {
		status, answer := h.json("POST", "/v1/completions", `{"model":"`+name+`","prompt":"x|y"}`)
		return status, answer
	}
	lenient := newHarness(t)
	status, answer := ask(lenient, "gpt-4o")
	g.Expect(status).To(Equal(200))
	g.Expect(answer).To(HaveKeyWithValue("model", "fake"), "the answer names the model that gave it")

	strict := newHarness(t, func(a *api.Options, _ *engine.Options) {
		a.StrictModel, a.Model.Aliases = true, []string{"small", "org/small"}
	})
	for name, want := range map[string]int{"fake": 200, "small": 200, "org/small": 200, "gpt-4o": 404, "": 404} {
		status, answer := ask(strict, name)
		g.Expect(status).To(Equal(want), name)
		if want == 404 {
			g.Expect(answer).To(HaveKeyWithValue("error", And(HaveKeyWithValue("code", "model_not_found"), HaveKeyWithValue("param", "model"))))
		}
	}
	_, list := strict.json("GET", "/v1/models", "")
	g.Expect(list["data"]).To(HaveLen(3))
	g.Expect(strict.do("GET", "/v1/models/org%2Fsmall", "").StatusCode).To(Equal(200))
}

func TestTextOffsetsDoNotDependOnWhatIsHeldBack(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	offsets := func(stop string) any {
		_, answer := h.json("POST", "/v1/completions", `{"model":"fake","prompt":"x|a bé c","logprobs":0,"stop":`+stop+`}`)
		return answer["choices"].([]any)[0].(map[string]any)["logprobs"].(map[string]any)["text_offset"]
	}
	g.Expect(offsets(`["b! never"," bx"]`)).To(Equal(offsets(`[]`)))
	g.Expect(offsets(`[]`)).To(Equal([]any{0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0}), "a character of two tokens begins where its first does")
}

func TestSeedsThatJSONClientsKeep(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	for range 20 {
		_, answer := h.json("POST", "/v1/completions", `{"model":"fake","prompt":"x|y"}`)
		g.Expect(answer["seed"]).To(BeNumerically("<", 1<<53))
	}
	raw, err := io.ReadAll(h.do("POST", "/v1/completions", `{"model":"fake","prompt":"x|y","seed":7.0,"stream":true}`).Body)
	g.Expect(err).NotTo(HaveOccurred())
	for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
		g.Expect(block).To(HavePrefix("data: "), "lines of data alone: that is all that some clients read")
		if block != "data: [DONE]" {
			g.Expect(block).To(ContainSubstring(`"seed":7}`))
		}
	}
}
