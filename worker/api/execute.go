package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gorilla/mux"
	"github.com/r3labs/sse/v2"

	"touchstone/worker/engine"
	"touchstone/worker/internal/problem"
)

// Limits bound the fields of a request beyond what is the same for every worker.
type Limits struct {
	MaxTokens     int // largest max_tokens
	VocabSize     int
	StopSequences int
	StopTokens    int
	CountTokens   func(text string) (int, error)
}

func (l Limits) fitsStop(stop string) bool {
	n, err := l.CountTokens(stop)
	return err == nil && n <= l.StopTokens
}

// parseExecute takes a request to run a job.
func parseExecute(f *fields, limits Limits) (engine.Request, *problem.Problem) {
	request := engine.Request{
		JobID:      f.text("job_id", engine.MaxJobIDCharacters),
		Prompt:     f.text("prompt", engine.MaxPromptCharacters),
		Parameters: parseParameters(f, limits),
		LogitsHash: f.boolean("logits_hash", false),
		Keep:       f.boolean("keep", false),
	}
	request.MaxTokens = f.integer("max_tokens", 1, limits.MaxTokens, 0)
	request.Logprobs = f.integer("logprobs", 0, engine.MaxLogprobs, 0)
	return request, f.problem()
}

// parseParameters takes the sampling parameters that all endpoints share.
func parseParameters(f *fields, limits Limits) engine.Parameters {
	return engine.Parameters{
		Temperature:       f.number("temperature", 0, 2, false, 1),
		TopP:              f.number("top_p", 0, 1, false, 1),
		TopK:              f.integer("top_k", 0, limits.VocabSize, 0),
		MinP:              f.number("min_p", 0, 1, false, 0),
		RepetitionPenalty: f.number("repetition_penalty", 0, 2, true, 1),
		Stop:              f.stops("stop", limits),
		Seed:              f.unsigned("seed"),
	}
}

// execute runs a job and streams its events.
func (s *Server) execute(w http.ResponseWriter, r *http.Request, ready *ready) {
	f, p := s.readFields(w, r)
	var request engine.Request
	if p == nil {
		request, p = parseExecute(f, s.options.Limits)
	}
	if p != nil {
		s.options.Metrics.Outcome(string(p.Code))
		s.refuse(w, r, p)
		return
	}
	request.CorrelationID = correlationID(r)
	job, err := ready.engine.Submit(request)
	if err != nil {
		s.refuse(w, r, asProblem(err))
		return
	}
	if !request.Keep {
		defer cancelWith(r, job)()
	}
	s.serveEvents(w, r, jobFeed(job, 0))
}

// cancelWith ends a job when the client of its request goes. The function it returns ends the watch.
func cancelWith(r *http.Request, job *engine.Job) func() bool {
	return context.AfterFunc(r.Context(), func() {
		job.Cancel(problem.New(problem.Cancelled, "the client closed its connection"))
	})
}

// events streams the events of a job again, from the start or after Last-Event-ID.
func (s *Server) events(w http.ResponseWriter, r *http.Request, ready *ready) {
	job, p := findJob(ready.engine, unescaped(mux.Vars(r)["job_id"]))
	if p != nil {
		s.refuse(w, r, p)
		return
	}
	first := 0
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		events, ended, _ := job.Since(0)
		id, err := strconv.ParseUint(last, 10, 31)
		if err != nil || int(id) >= len(events) {
			message := fmt.Sprintf("Last-Event-ID must be the id of an event that was sent: 0 to %d", len(events)-1)
			s.refuse(w, r, &problem.Problem{Code: problem.InvalidRequest, Message: message, Errors: []problem.Field{{
				Field: "Last-Event-ID", Constraint: "the id of an event that was sent", Got: shorten(last), Message: message}}})
			return
		}
		first = int(id) + 1
		if ended && first == len(events) {
			w.WriteHeader(http.StatusNoContent) // tells an event source that nothing will follow
			return
		}
	}
	s.serveEvents(w, r, jobFeed(job, first))
}

// cancel ends a job before its time.
func (s *Server) cancel(w http.ResponseWriter, r *http.Request, ready *ready) {
	f, p := s.readFields(w, r)
	var id string
	if p == nil {
		id = f.text("job_id", engine.MaxJobIDCharacters)
		p = f.problem()
	}
	var job *engine.Job
	if p == nil {
		job, p = findJob(ready.engine, id)
	}
	if p != nil {
		s.refuse(w, r, p)
		return
	}
	job.Cancel(problem.New(problem.Cancelled, "the job was cancelled by request"))
	s.reply(w, http.StatusAccepted, map[string]string{"job_id": id, "status": "cancelling"})
}

// shutdown ends the worker. Its body says nothing: it is empty or {}.
func (s *Server) shutdown(w http.ResponseWriter, r *http.Request) {
	body, p := s.readBody(w, r)
	if p == nil && len(body) > 0 {
		var f *fields
		if f, p = parseFields(body); p == nil {
			p = f.problem()
		}
	}
	if p != nil {
		s.refuse(w, r, p)
		return
	}
	s.reply(w, http.StatusAccepted, map[string]string{"status": "shutting_down"})
	s.options.Shutdown()
}

func findJob(e *engine.Engine, id string) (*engine.Job, *problem.Problem) {
	job, found := e.Job(id)
	if !found {
		return nil, problem.New(problem.NotFound, "no job with this job_id is running or remembered")
	}
	return job, nil
}

// unescaped gives a path segment as text; the router hands it over as it was sent.
func unescaped(segment string) string {
	if text, err := url.PathUnescape(segment); err == nil {
		return text
	}
	return segment
}

// jobFeed gives the events of a job from first on. Their ids count from 0.
func jobFeed(job *engine.Job, first int) feed {
	position := first
	return func() ([]*sse.Event, bool, <-chan struct{}) {
		events, ended, more := job.Since(position)
		encoded := make([]*sse.Event, len(events))
		for i, event := range events {
			data, err := json.Marshal(event)
			if err != nil { // only a defect of this package can cause it
				panic(err)
			}
			encoded[i] = &sse.Event{
				ID: []byte(strconv.Itoa(position + i)), Event: []byte(event.Name()), Data: data,
			}
		}
		position += len(events)
		return encoded, ended, more
	}
}

// asProblem gives the problem that an error of the engine is.
func asProblem(err error) *problem.Problem {
	var p *problem.Problem
	if errors.As(err, &p) {
		return p
	}
	return problem.New(problem.Internal, "%v", err)
}
