// Package generation holds the specs of what a worker means: the right number of tokens, the right text, streams that come as
// they are made, the same answer alone and in company. They are written over the adapters of package api and hold in every
// wire format.
package generation

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/api"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// specTimeout leaves room for a server that answers one request after the other.
const specTimeout = 60 * time.Second

// rain is a prompt of the bundled model's subject that any other model can continue too.
const rain = "Please write a haiku about rain"

// prompts are continued by any model of language; the bundled one writes haiku after some of them.
var prompts = []string{
	"Write a haiku about GPU computing", rain, "a", "The old pond:", "func main() {", "Écrivez un haïku: 東京の雨",
}

// Register adds the specs over the named interface to the container that calls it.
func Register(subject func() *target.Target, over string) {
	Describe("over "+over, func() {
		door := func() (api.API, *wire.Client) {
			GinkgoHelper()
			t := subject()
			t.Require(target.HTTP)
			if over == api.OpenAIChat {
				t.Require(target.ChatEndpoint)
			}
			return t.API(over), t.Client()
		}
		registerAnswers(subject, over, door)
		registerStreams(subject, door)
		registerCompany(subject, door)
		registerExpected(subject, door)
	})
}

// doorway gives the adapter of the interface and the client of the shared worker, or skips the spec.
type doorway func() (api.API, *wire.Client)

// streamed asks for an answer as it is made, reads it whole, and expects it to keep the interface's rules.
func streamed(ctx SpecContext, over api.API, client *wire.Client, request api.Request) (*api.Stream, api.Answer) {
	GinkgoHelper()
	stream, err := over.Open(ctx, client, request, nil)
	Expect(err).NotTo(HaveOccurred())
	defer stream.Close()
	answer, err := stream.Finished()
	Expect(err).NotTo(HaveOccurred())
	Expect(stream.Problem()).To(BeEmpty())
	return stream, answer
}

// whole asks for an answer in one piece.
func whole(ctx SpecContext, over api.API, client *wire.Client, request api.Request) api.Answer {
	GinkgoHelper()
	answer, err := over.Whole(ctx, client, request)
	Expect(err).NotTo(HaveOccurred())
	return answer
}

// middle takes a few characters from inside a text, at a place where they occur for the first time.
func middle(text string) string {
	runes := []rune(text)
	for size := 4; size >= 1; size-- {
		for at := len(runes) / 3; at > 0 && at+size < len(runes); at++ {
			candidate := string(runes[at : at+size])
			if strings.TrimSpace(candidate) != "" && !strings.ContainsRune(candidate, '\uFFFD') &&
				strings.Index(text, candidate) == len(string(runes[:at])) {
				return candidate
			}
		}
	}
	return ""
}
