package openai

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/target"
)

// HTTP-03 Execute endpoint: here /v1/completions.
func registerCompletions(subject func() *target.Target) {
	Describe("completions endpoint", requirement.ID("HTTP-03"), func() {
		DescribeTable("gives exactly max_tokens tokens when nothing else stops it",
			func(ctx SpecContext, maxTokens int) {
				client := httpClient(subject)
				fields := subject().Completion(rain, maxTokens)
				stream, chunked := streamed(ctx, client, fields)
				evidence.Transcript("stream", stream.Exchange())
				atOnce := whole(ctx, client, fields)
				Expect(*chunked.Usage.CompletionTokens).To(Equal(maxTokens), "usage.completion_tokens of the stream")
				Expect(*atOnce.Usage.CompletionTokens).To(Equal(maxTokens), "usage.completion_tokens")
				// A chunk holds whole characters, which may take several tokens.
				Expect(len(chunked.Pieces)).To(And(BeNumerically(">", 0), BeNumerically("<=", maxTokens)), "chunks with text")
				for _, completion := range []target.Completion{chunked, atOnce} {
					Expect(completion.FinishReason).To(Equal("length"), "finish_reason where max_tokens ends the text")
				}
			},
			Entry("one", SpecTimeout(specTimeout), 1),
			Entry("two", SpecTimeout(specTimeout), 2),
			Entry("eight", SpecTimeout(specTimeout), 8),
		)

		It("stops at a stop sequence and leaves it out", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := subject().Completion(rain, 24)
			text := whole(ctx, client, fields).Text()
			stop := middle(text)
			Expect(stop).NotTo(BeEmpty(), "the text %q is too short to hold a stop sequence", text)
			before, _, _ := strings.Cut(text, stop)
			stream, stopped := streamed(ctx, client, fields.With("stop", []string{"\u0001never", stop}))
			evidence.Transcript("stopped stream", stream.Exchange())
			Expect(stopped.FinishReason).To(Equal("stop"), "finish_reason")
			Expect(stopped.Text()).To(Equal(before), "the text before the stop sequence %q", stop)
		})

		It("answers the prompt that it was given", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			texts := map[string]string{}
			distinct := map[string]bool{}
			for _, prompt := range prompts {
				texts[prompt] = whole(ctx, client, subject().Completion(prompt, 16)).Text()
				distinct[texts[prompt]] = true
			}
			evidence.Observe("texts", texts, "")
			Expect(len(distinct)).To(BeNumerically(">", 1), "every prompt is continued in the same way")
		})

		It("repeats the golden texts", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			goldens := subject().Goldens()
			continued := 0
			for _, golden := range goldens.Prompts {
				if strings.Contains(golden.Prompt, "<|") {
					continue // whether a prompt may hold control tokens is the server's choice
				}
				By(golden.Name)
				completion := whole(ctx, client, subject().Completion(golden.Prompt, len(golden.GreedyIDs)))
				Expect(completion.Text()).To(Equal(golden.GreedyText), "prompt %s", golden.Name)
				Expect(*completion.Usage.PromptTokens).To(Equal(len(golden.PromptIDs)), "prompt %s", golden.Name)
				if golden.EndStep != nil {
					Expect(completion.FinishReason).To(Equal("stop"), "prompt %s", golden.Name)
				}
				continued++
			}
			evidence.Observe("golden texts equal", continued, "")
			evidence.Observe("oracle", goldens.Libraries, "")
			Expect(continued).To(BeNumerically(">=", len(goldens.Prompts)/2), "prompts that could be continued")
		})
	})
}

// registerChat adds what HTTP-03 asks of /v1/chat/completions where it is offered.
func registerChat(subject func() *target.Target) {
	Describe("chat endpoint", requirement.ID("HTTP-03"), func() {
		It("says the same in chunks and in one piece", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			subject().Require(target.ChatEndpoint)
			fields := subject().Chat(rain, 12)
			stream, chunked := streamed(ctx, client, fields)
			evidence.Transcript("stream", stream.Exchange())
			atOnce := whole(ctx, client, fields)
			Expect(atOnce.Text()).NotTo(BeEmpty())
			Expect(chunked.Text()).To(Equal(atOnce.Text()))
			Expect(*chunked.Usage.CompletionTokens).To(And(Equal(*atOnce.Usage.CompletionTokens), BeNumerically("<=", 12)))
		})
	})
}

// middle takes a few characters from inside a text, at a place where they occur for the first time.
func middle(text string) string {
	runes := []rune(text)
	for size := 4; size >= 1; size-- {
		for at := len(runes) / 3; at > 0 && at+size < len(runes); at++ {
			candidate := string(runes[at : at+size])
			if strings.TrimSpace(candidate) != "" && strings.Index(text, candidate) == len(string(runes[:at])) {
				return candidate
			}
		}
	}
	return ""
}
