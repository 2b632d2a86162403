package openaiapi

import (
	"fmt"
	"strings"
	"sync"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/target"
	"touchstone/suites/wire"
	"unicode"

	"github.com/google/uuid"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func registerCorrelation(subject func() *target.Target) {
	Describe("correlation id", requirement.Claim("openai.correlation"), func() {
		It("comes back in every answer, refusals and streams among them", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client, header := correlating(subject)
			for _, fields := range []api.Fields{subject().Completion(rain, 2), subject().Completion(rain, 2).Streamed(), {}} {
				id := uuid.NewString()
				response, err := client.Do(ctx, wire.Post(completions, fields).With(header, id))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("answer", response.Exchange())
				Expect(response.Header.Get(header)).To(Equal(id), "status %d", response.Status)
			}
		})

		It("is a fresh one where none was given", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client, header := correlating(subject)
			seen := map[string]bool{}
			for range 8 {
				response, err := client.Do(ctx, wire.Get("/v1/models"))
				Expect(err).NotTo(HaveOccurred())
				id := response.Header.Get(header)
				Expect(id).NotTo(BeEmpty())
				Expect(seen).NotTo(HaveKey(id), "an id was given twice")
				seen[id] = true
			}
			evidence.Observe("fresh ids", len(seen), "")
		})

		It("never mixes among 64 concurrent requests", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client, header := correlating(subject)
			const requests = 64
			problems := make([]string, requests)
			var group sync.WaitGroup
			for i := range requests {
				group.Go(func() {
					id := uuid.NewString()
					response, err := client.Do(ctx, apart(wire.Post(completions, subject().Completion(rain, 2))).With(header, id))
					if err != nil {
						problems[i] = err.Error()
					} else if got := response.Header.Get(header); got != id {
						problems[i] = fmt.Sprintf("sent %s, got %s", id, got)
					}
				})
			}
			group.Wait()
			evidence.Observe("concurrent requests", requests, "")
			Expect(problems).To(HaveEach(BeEmpty()))
		})

		It("is refused or cleaned where it is hostile", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client, header := correlating(subject)
			for _, hostile := range []string{strings.Repeat("x", 4096), "before\tafter", `"><script>alert(1)</script>`} {
				response, err := client.Do(ctx, wire.Get("/v1/models").With(header, hostile))
				Expect(err).NotTo(HaveOccurred())
				echoed := response.Header.Get(header)
				evidence.Observe("status and id that came back", fmt.Sprintf("%d %.80q", response.Status, echoed), "")
				Expect(len(echoed)).To(BeNumerically("<=", 128), "the length of the id that came back")
				Expect(strings.IndexFunc(echoed, func(r rune) bool { return !unicode.IsPrint(r) || r > unicode.MaxASCII })).To(Equal(-1), "%q", echoed)
			}
		})
	})
}

// correlating is the client and the header in which the server returns an id, or skips the spec.
func correlating(subject func() *target.Target) (client *wire.Client, header string) {
	GinkgoHelper()
	client = httpClient(subject)
	subject().Require(target.Correlation)
	return client, subject().OpenAI().Correlation
}
