package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/google/uuid"

	"touchstone/worker/internal/problem"
)

const (
	correlationHeader   = "X-Correlation-ID"
	maxCorrelationBytes = 128
)

type correlationKey struct{}

// correlationID is the id of a request: the client's, or one made for it.
func correlationID(r *http.Request) string {
	id, _ := r.Context().Value(correlationKey{}).(string)
	return id
}

// withCorrelation gives every request an id, and every answer its header.
func (s *Server) withCorrelation(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Values(correlationHeader)
		id, valid := "", true
		if len(given) > 0 {
			id, valid = given[0], len(given) == 1 && isVisibleASCII(given[0])
		}
		if id == "" || !valid {
			id = uuid.NewString()
		}
		r = r.WithContext(context.WithValue(r.Context(), correlationKey{}, id))
		w.Header().Set(correlationHeader, id)
		s.extendDeadline(w)
		if !valid {
			constraint := fmt.Sprintf("one value of 1 to %d visible ASCII characters", maxCorrelationBytes)
			message := fmt.Sprintf("%s must be %s", correlationHeader, constraint)
			s.refuse(w, r, &problem.Problem{Code: problem.InvalidRequest, Message: message, Errors: []problem.Field{{
				Field: correlationHeader, Constraint: constraint, Message: message,
				Got: fmt.Sprintf("%d values, the first of %d bytes", len(given), len(given[0])),
			}}})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isVisibleASCII(text string) bool {
	if text == "" || len(text) > maxCorrelationBytes {
		return false
	}
	for _, c := range []byte(text) {
		if c < '!' || c > '~' {
			return false
		}
	}
	return true
}

// withRecovery turns a panic in a handler into INTERNAL.
func (s *Server) withRecovery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			s.options.Logger.Error("panic in a handler", "event", "panic", "correlation_id", correlationID(r),
				"cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if w.Header().Get("Content-Type") == "text/event-stream" { // too late for another answer
				panic(http.ErrAbortHandler)
			}
			s.refuse(w, r, problem.New(problem.Internal, "the worker failed at this request; please report the correlation id"))
		}()
		next.ServeHTTP(w, r)
	})
}

// withAuthorization demands the API key, if there is one, from all but the open paths.
func (s *Server) withAuthorization(next http.Handler) http.Handler {
	if s.options.APIKey == "" {
		return next
	}
	want := sha256.Sum256([]byte(s.options.APIKey))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open := r.URL.Path == "/" || r.URL.Path == "/health" || r.URL.Path == "/openapi.yaml"
		scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimLeft(key, " ")))
		if !open && (!strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.refuse(w, r, problem.New(problem.Unauthorized, "this worker needs its API key: Authorization: Bearer KEY"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
