package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"touchstone/worker/internal/problem"
)

// errorBody is how every failure is told.
type errorBody struct {
	Code          problem.Code    `json:"code"`
	Message       string          `json:"message"`
	Retriable     bool            `json:"retriable"`
	CorrelationID string          `json:"correlation_id"`
	Errors        []problem.Field `json:"errors"`
}

// reply writes a JSON answer.
func (s *Server) reply(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil { // only a defect of this package can cause it
		s.options.Logger.Error("answer not encoded", "event", "encode_failed", "error", err)
		http.Error(w, `{"code":"INTERNAL","message":"the answer could not be encoded","retriable":false}`, http.StatusInternalServerError)
		return
	}
	s.extendDeadline(w)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client may be gone
}

// refuse writes a failure.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	if strings.HasPrefix(r.URL.Path, openAIPrefix) {
		s.reply(w, p.HTTPStatus(), openAIFailure(p))
		return
	}
	s.reply(w, p.HTTPStatus(), errorBody{
		Code: p.Code, Message: p.Message, Retriable: p.Code.Retriable(), CorrelationID: correlationID(r),
		Errors: append([]problem.Field{}, p.Errors...),
	})
}

// extendDeadline gives the client WriteTimeout from now to take what is written next.
func (s *Server) extendDeadline(w http.ResponseWriter) {
	// A ResponseWriter without deadlines is a test's recorder, which never blocks.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.options.WriteTimeout))
}
