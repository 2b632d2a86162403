// Package api is the worker's HTTP interface: routes, validation, server-sent events and the OpenAI-compatible endpoints.
// openapi.yaml describes all of it and is served at /openapi.yaml.
package api

import (
	_ "embed"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"touchstone/native"
	"touchstone/worker/engine"
	"touchstone/worker/internal/metrics"
	"touchstone/worker/internal/problem"
)

//go:embed openapi.yaml
var openAPI []byte

//go:embed page.html
var page []byte

// Model is what the interface tells about the model, known from its file before it is loaded.
type Model struct {
	Name          string
	Aliases       []string // other names of it
	Architecture  string
	QuantKind     string
	TokenizerKind string
	VocabSize     int
	ContextLength int
	Modified      time.Time
	Chat          *ChatTemplate // nil if the model has none that can be used
	ChatProblem   error         // why it cannot be used; nil also if the model has none
}

// Options are what a server needs. All fields are required unless said otherwise.
type Options struct {
	WorkerID     string
	Version      string
	Model        Model
	Device       string // as in --device
	Numerics     string // as in --numerics
	Limits       Limits
	Origins      Origins
	StrictModel  bool   // refuse requests for a model of another name
	APIKey       string // empty: no key is asked for
	KeepAlive    time.Duration
	WriteTimeout time.Duration // for a client to send a body or take a write
	Started      time.Time
	Logger       *slog.Logger
	Metrics      *metrics.Metrics
	Shutdown     func() // asked for by POST /shutdown; must not block
}

// Server answers requests. Until Ready is called it says that the model is loading.
type Server struct {
	options Options
	ready   atomic.Pointer[ready]
	handler http.Handler
}

type ready struct {
	engine    *engine.Engine
	tokenizer engine.Tokenizer
	device    native.DeviceProperties
}

// New makes a server.
func New(options Options) *Server {
	s := &Server{options: options}
	router := mux.NewRouter().UseEncodedPath()
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, problem.New(problem.NotFound, "there is nothing at this path; /openapi.yaml lists what there is"))
	})
	router.MethodNotAllowedHandler = s.methodNotAllowed(router)
	get := func(path string, handler http.HandlerFunc) {
		router.HandleFunc(path, handler).Methods(http.MethodGet, http.MethodHead)
	}
	post := func(path string, handler http.HandlerFunc) { router.HandleFunc(path, handler).Methods(http.MethodPost) }
	get("/", static("text/html; charset=utf-8", page))
	get("/openapi.yaml", static("application/yaml", openAPI))
	get("/health", s.health)
	get("/metrics", options.Metrics.Handler().ServeHTTP)
	post("/execute", s.withEngine(s.execute))
	router.HandleFunc("/jobs/{job_id}/events", s.withEngine(s.events)).Methods(http.MethodGet)
	post("/cancel", s.withEngine(s.cancel))
	post(shutdownPath, s.shutdown)
	post("/tokenize", s.withEngine(s.tokenize))
	post("/detokenize", s.withEngine(s.detokenize))
	s.routeOpenAI(router)
	s.handler = s.withCorrelation(s.withRecovery(s.withOrigin(s.withAuthorization(router))))
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Ready tells the server that jobs can run now.
func (s *Server) Ready(e *engine.Engine, tokenizer engine.Tokenizer, device native.DeviceProperties) {
	s.ready.Store(&ready{engine: e, tokenizer: tokenizer, device: device})
}

// withEngine runs a handler once the model is loaded.
func (s *Server) withEngine(handler func(http.ResponseWriter, *http.Request, *ready)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ready := s.ready.Load()
		if ready == nil {
			p := problem.New(problem.Overloaded, "the model is still loading; /health tells when it is ready")
			p.RetryAfter = time.Second
			s.refuse(w, r, p)
			return
		}
		handler(w, r, ready)
	}
}

// methodNotAllowed answers with the methods that the path does support.
func (s *Server) methodNotAllowed(router *mux.Router) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		allowed := strings.Join(methodsOf(router, r), ", ")
		w.Header().Set("Allow", allowed)
		s.refuse(w, r, problem.New(problem.MethodNotAllowed, "%s does not work on this path; use %s", r.Method, allowed))
	}
}

// methodsOf gives the methods of the routes that lead to a request's path.
func methodsOf(router *mux.Router, r *http.Request) []string {
	var all []string
	probe := r.Clone(r.Context())
	_ = router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		methods, err := route.GetMethods()
		if err != nil {
			return err
		}
		probe.Method = methods[0]
		if route.Match(probe, &mux.RouteMatch{}) {
			all = append(all, methods...)
		}
		return nil
	}) // every route has methods
	return all
}

func static(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // the client may be gone
	}
}
