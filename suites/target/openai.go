package target

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"touchstone/suites/api"
	"touchstone/suites/wire"
)

// OpenAIOffer is what a server of the OpenAI API offers beyond POST /v1/completions, which every one must, as it was found at
// the start.
type OpenAIOffer struct {
	Model       string `json:"model"`       // the one that the profile names, or the first of GET /v1/models; empty if it lists none
	Health      bool   `json:"health"`      // there is a GET /health
	Chat        bool   `json:"chat"`        // POST /v1/chat/completions answers
	Correlation string `json:"correlation"` // the header in which a caller's id comes back; empty if none does
}

// OpenAI is what was found; the zero value where the subject is asked in another API.
func (t *Target) OpenAI() OpenAIOffer { return t.shared.OpenAI }

// Completion is a request to POST /v1/completions in its own words, greedy.
func (t *Target) Completion(prompt string, maxTokens int) api.Fields {
	return api.Fields{"model": t.shared.OpenAI.Model, "prompt": prompt, "max_tokens": maxTokens, "temperature": 0.0, "seed": 1}
}

// probeOpenAI asks what the server offers. A server that answers wrongly offers what it answered: the specs judge it.
func (t *Target) probeOpenAI(ctx context.Context) OpenAIOffer {
	if t.Profile.API == api.Touchstone {
		return OpenAIOffer{}
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	offer := OpenAIOffer{Model: t.Profile.ModelName}
	if offer.Model == "" {
		if models, err := api.Models(ctx, t.client); err == nil {
			offer.Model = models[0]
		}
	}
	if response, err := t.client.Do(ctx, wire.Get("/health")); err == nil {
		offer.Health = response.Status != http.StatusNotFound
	}
	chat := api.Fields{"model": offer.Model, "max_tokens": 1, "messages": []map[string]string{{"role": "user", "content": "a"}}}
	if response, err := t.client.Do(ctx, wire.Post("/v1/chat/completions", chat)); err == nil {
		offer.Chat = response.Status == http.StatusOK
	}
	id := uuid.NewString()
	response, err := t.client.Do(ctx, wire.Get("/v1/models").With(api.CorrelationHeader, id).With(api.RequestHeader, id))
	switch {
	case err != nil:
	case response.Header.Get(api.CorrelationHeader) != "":
		offer.Correlation = api.CorrelationHeader
	case response.Header.Get(api.RequestHeader) == id: // else it is the server's own number, as OpenAI's is
		offer.Correlation = api.RequestHeader
	}
	return offer
}
