package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/gorilla/mux"
	"github.com/r3labs/sse/v2"

	"touchstone/worker/engine"
	"touchstone/worker/internal/problem"
)

// openAIPrefix is where the OpenAI-compatible endpoints live; failures there have OpenAI's shape.
const openAIPrefix = "/v1/"

func (s *Server) routeOpenAI(router *mux.Router) {
	router.HandleFunc(openAIPrefix+"models", s.models).Methods(http.MethodGet, http.MethodHead)
	router.HandleFunc(openAIPrefix+"models/{model}", s.model).Methods(http.MethodGet, http.MethodHead)
	router.HandleFunc(openAIPrefix+"completions", s.withEngine(s.completions)).Methods(http.MethodPost)
	router.HandleFunc(openAIPrefix+"chat/completions", s.withEngine(s.chatCompletions)).Methods(http.MethodPost)
}

type openAIError struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   any    `json:"param"`
	Code    any    `json:"code"`
}

type openAIErrorBody struct {
	Error openAIError `json:"error"`
}

// openAIFailure is a problem in OpenAI's shape.
func openAIFailure(p *problem.Problem) openAIErrorBody {
	body := openAIErrorBody{openAIError{Message: p.Message, Type: "server_error", Code: strings.ToLower(string(p.Code))}}
	switch p.Code {
	case problem.InvalidRequest, problem.NotFound, problem.MethodNotAllowed, problem.Conflict, problem.Forbidden:
		body.Error.Type = "invalid_request_error"
	case problem.Unauthorized:
		body.Error.Type, body.Error.Code = "authentication_error", "invalid_api_key"
	}
	if len(p.Errors) > 0 {
		body.Error.Param = p.Errors[0].Field
	}
	if p.Detail != "" {
		body.Error.Code = p.Detail
	}
	return body
}

type modelBody struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// modelNames are the names of the model, the one that stands in answers first.
func (s *Server) modelNames() []string {
	return append([]string{s.options.Model.Name}, s.options.Model.Aliases...)
}

func (s *Server) modelBody(name string) modelBody {
	return modelBody{ID: name, Object: "model", Created: s.options.Model.Modified.Unix(), OwnedBy: "touchstone"}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	var list []modelBody
	for _, name := range s.modelNames() {
		list = append(list, s.modelBody(name))
	}
	s.reply(w, http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []modelBody `json:"data"`
	}{"list", list})
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	name := unescaped(mux.Vars(r)["model"])
	if !slices.Contains(s.modelNames(), name) {
		s.refuse(w, r, s.otherModel(name))
		return
	}
	s.reply(w, http.StatusOK, s.modelBody(name))
}

// otherModel refuses a model that is not served.
func (s *Server) otherModel(name string) *problem.Problem {
	message := fmt.Sprintf("the model %q is not served here; this worker serves %q", shorten(name), s.options.Model.Name)
	return &problem.Problem{Code: problem.NotFound, Message: message, Detail: "model_not_found", Errors: []problem.Field{{
		Field: "model", Constraint: "a model of this worker", Got: shorten(name), Message: message}}}
}

func (s *Server) completions(w http.ResponseWriter, r *http.Request, ready *ready) {
	s.serveOpenAI(w, r, ready, "cmpl-", s.parseCompletion)
}

func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request, ready *ready) {
	if s.options.Model.Chat == nil {
		why := "it has none"
		if s.options.Model.ChatProblem != nil {
			why = s.options.Model.ChatProblem.Error()
		}
		s.refuse(w, r, problem.New(problem.InvalidRequest,
			"the model %q has no chat template to use: %s; use /v1/completions", s.options.Model.Name, why))
		return
	}
	s.serveOpenAI(w, r, ready, "chatcmpl-", s.parseChat)
}

// serveOpenAI runs a request of either kind, streamed or not.
func (s *Server) serveOpenAI(w http.ResponseWriter, r *http.Request, ready *ready, prefix string,
	parse func(*fields) (openAIRequest, *problem.Problem)) {
	f, p := s.readFields(w, r)
	var q openAIRequest
	if p == nil {
		q, p = parse(f)
	}
	if p == nil {
		p = s.checkModel(q)
	}
	if p != nil {
		s.options.Metrics.Outcome(string(p.Code))
		s.refuse(w, r, p)
		return
	}
	q.CorrelationID = correlationID(r)
	id := prefix + uuid.NewString()
	jobs, err := ready.engine.SubmitAll(q.requests(id))
	if err != nil {
		s.refuse(w, r, asProblem(err))
		return
	}
	for _, job := range jobs {
		defer cancelWith(r, job)()
	}
	answer := newOpenAIAnswer(id, q, jobs, ready.tokenizer, s.options.Model.Name)
	if q.stream {
		s.serveEvents(w, r, answer.feed())
		return
	}
	body, p := answer.whole(r.Context().Done())
	if p != nil {
		for _, job := range jobs { // an answer without one of its choices is none
			job.Cancel(p)
		}
		s.refuse(w, r, p)
		return
	}
	s.reply(w, http.StatusOK, body)
}

// feed gives the answer in chunks, as events without a name.
func (a *openAIAnswer) feed() feed {
	failed := false
	return func() ([]*sse.Event, bool, <-chan struct{}) {
		var out []*sse.Event
		add := func(body any) {
			data, err := json.Marshal(body)
			if err != nil { // only a defect of this package can cause it
				panic(err)
			}
			out = append(out, &sse.Event{Data: data})
		}
		var more <-chan struct{}
		allEnded := true
		for _, c := range a.choices {
			events, ended, changed := c.job.Since(c.position)
			c.position += len(events)
			allEnded = allEnded && ended
			if more == nil { // taken first, so that no change of any job is missed
				more = changed
			}
			for _, event := range events {
				if failure, isFailure := event.(engine.Failed); isFailure && !failed {
					failed = true
					add(openAIFailure(&problem.Problem{Code: failure.Code, Message: failure.Message}))
				}
				for _, chunk := range a.chunks(c, event) {
					add(chunk)
				}
			}
		}
		if failed {
			for _, c := range a.choices { // an answer without one of its choices is none
				c.job.Cancel(problem.New(problem.Cancelled, "another answer to the same request failed"))
			}
			return out, true, more
		}
		if allEnded {
			if a.request.includeUsage {
				add(a.usageChunk())
			}
			out = append(out, &sse.Event{Data: []byte("[DONE]")})
		}
		return out, allEnded, more
	}
}

// chunks gives what a stream tells of an event.
func (a *openAIAnswer) chunks(c *choiceState, event engine.Event) []answerBody {
	switch event := event.(type) {
	case engine.Started:
		if a.request.chat {
			return []answerBody{a.chunk(c, delta{Role: "assistant"}, "", nil)}
		}
	case engine.Token:
		var out []answerBody
		if event.Index == 0 && a.request.echo {
			out = append(out, a.chunk(c, delta{Content: a.echoed(c)}, "", a.echoedLogprobs(c)))
		}
		if a.request.promptOnly {
			return out
		}
		c.tokensOut++
		if event.Text != "" || a.request.logprobs {
			out = append(out, a.chunk(c, delta{Content: event.Text}, "", a.logprobs(c, []engine.Token{event})))
		}
		return out
	case engine.End:
		c.end = event
		var out []answerBody
		if event.TokensOut == 0 && a.request.echo {
			out = append(out, a.chunk(c, delta{Content: a.echoed(c)}, "", a.echoedLogprobs(c)))
		}
		return append(out, a.chunk(c, delta{}, finishReason(event), nil))
	}
	return nil
}

// whole waits for the end of all jobs and gives the answer in one piece.
func (a *openAIAnswer) whole(gone <-chan struct{}) (any, *problem.Problem) {
	body := a.body(false)
	for _, c := range a.choices {
		events, p := ended(c.job, gone)
		if p != nil {
			return nil, p
		}
		var text strings.Builder
		var tokens []engine.Token
		for _, event := range events {
			if token, ok := event.(engine.Token); ok && !a.request.promptOnly {
				text.WriteString(token.Text)
				tokens = append(tokens, token)
			}
		}
		c.end = events[len(events)-1].(engine.End)
		c.tokensOut = len(tokens)
		body.Choices = append(body.Choices, a.choice(c, text.String(), tokens))
	}
	body.Usage = a.usage()
	return body, nil
}

// ended waits for the end of a job and gives its events.
func ended(job *engine.Job, gone <-chan struct{}) ([]engine.Event, *problem.Problem) {
	for {
		events, ended, more := job.Since(0)
		if !ended {
			select {
			case <-more:
				continue
			case <-gone:
				return nil, problem.New(problem.Cancelled, "the client closed its connection")
			}
		}
		if failed, ok := events[len(events)-1].(engine.Failed); ok {
			return nil, &problem.Problem{Code: failed.Code, Message: failed.Message}
		}
		return events, nil
	}
}
