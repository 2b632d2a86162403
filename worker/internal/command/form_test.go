package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The bundled model knows no JSON, and still its answers have the form that is asked for.
func TestAnswersHaveTheFormThatIsAskedFor(t *testing.T) {
	g := NewWithT(t)
	p := startWorker(t)
	p.await(t, "ready")
	schema := `{"type":"object","properties":{"mood":{"enum":["calm","wild"]},"lines":{"type":"integer"},"words":{"type":"array","items":{"type":"boolean"},"maxItems":3}},
		"required":["mood","lines","words"],"additionalProperties":false}`
	for seed := range 5 {
		body := fmt.Sprintf(`{"model":"haiku","seed":%d,"max_tokens":300,"messages":[{"role":"user","content":"the rain"}],
			"response_format":{"type":"json_schema","json_schema":{"name":"haiku","schema":%s}}}`, seed, schema)
		response, err := http.Post(p.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
		g.Expect(err).NotTo(HaveOccurred())
		var answer struct {
			Choices []struct {
				Message      struct{ Content string }
				FinishReason string `json:"finish_reason"`
			}
		}
		g.Expect(json.NewDecoder(response.Body).Decode(&answer)).To(Succeed())
		g.Expect(response.Body.Close()).To(Succeed())
		g.Expect(answer.Choices).To(HaveLen(1))
		g.Expect(answer.Choices[0].FinishReason).To(Equal("stop"))
		var value struct {
			Mood  *string
			Lines *int64
			Words []bool
		}
		decoder := json.NewDecoder(strings.NewReader(answer.Choices[0].Message.Content))
		decoder.DisallowUnknownFields()
		g.Expect(decoder.Decode(&value)).To(Succeed(), answer.Choices[0].Message.Content)
		g.Expect(value.Mood).To(HaveValue(BeElementOf("calm", "wild")))
		g.Expect(value.Lines).NotTo(BeNil())
		g.Expect(len(value.Words)).To(BeNumerically("<=", 3))
	}
}
