package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/uuid"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/worker/api"
	"touchstone/worker/engine"
)

func TestWhatIsNotThere(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/no/such/path", 404, "NOT_FOUND"},
		{"GET", "/execute", 405, "METHOD_NOT_ALLOWED"},
		{"POST", "/health", 405, "METHOD_NOT_ALLOWED"},
		{"DELETE", "/jobs/a/events", 405, "METHOD_NOT_ALLOWED"},
		{"GET", "/jobs/a/events", 404, "NOT_FOUND"},
	} {
		response := h.do(c.method, c.path, "")
		g.Expect(response.StatusCode).To(Equal(c.status), c.path)
		g.Expect(response.Header.Get("Content-Type")).To(Equal("application/json"))
		var body map[string]any
		g.Expect(json.NewDecoder(response.Body).Decode(&body)).To(Succeed())
		g.Expect(body).To(And(HaveKeyWithValue("code", c.code), HaveKeyWithValue("retriable", false),
			HaveKeyWithValue("correlation_id", response.Header.Get("X-Correlation-ID")), HaveKeyWithValue("errors", BeEmpty())))
		if c.status == 405 {
			g.Expect(response.Header.Get("Allow")).NotTo(BeEmpty())
		}
	}
}

func TestCorrelationIDs(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	seen := map[string]bool{}
	for range 4 {
		id := h.do("GET", "/health", "").Header.Get("X-Correlation-ID")
		g.Expect(uuid.Parse(id)).Error().NotTo(HaveOccurred())
		g.Expect(seen).NotTo(HaveKey(id))
		seen[id] = true
	}
	longest := strings.Repeat("!~", 64)
	g.Expect(h.do("GET", "/health", "", "X-Correlation-ID", longest).Header.Get("X-Correlation-ID")).To(Equal(longest))
	for _, hostile := range []string{strings.Repeat("x", 129), "a b", "tab\there", "é"} {
		response := h.do("GET", "/health", "", "X-Correlation-ID", hostile)
		g.Expect(response.StatusCode).To(Equal(400), "%q", hostile)
		g.Expect(uuid.Parse(response.Header.Get("X-Correlation-ID"))).Error().NotTo(HaveOccurred())
		body, _ := io.ReadAll(response.Body)
		g.Expect(string(body)).To(And(ContainSubstring("X-Correlation-ID"), Not(ContainSubstring(hostile))))
	}
	request, _ := http.NewRequest(http.MethodGet, h.server.URL+"/health", nil)
	request.Header["X-Correlation-Id"] = []string{"one", "two"}
	response, err := h.client.Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	g.Expect(response.StatusCode).To(Equal(400), "two ids")
}

func TestAPIKey(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.APIKey = "s3cret" })
	body := `{"job_id":"a","prompt":"x","max_tokens":1}`
	for _, headers := range [][]string{nil, {"Authorization", "Bearer wrong"}, {"Authorization", "s3cre"}, {"Authorization", "Bearer "}} {
		status, answer := h.json("POST", "/execute", body, headers...)
		g.Expect(status).To(Equal(401))
		g.Expect(answer).To(HaveKeyWithValue("code", "UNAUTHORIZED"))
	}
	_, answer := h.json("GET", "/v1/models", "")
	g.Expect(answer).To(HaveKeyWithValue("error", HaveKeyWithValue("code", "invalid_api_key")))
	g.Expect(h.do("GET", "/health", "").StatusCode).To(Equal(200))
	g.Expect(h.do("POST", "/execute", body, "Authorization", "Bearer s3cret").StatusCode).To(Equal(200))
}

func TestLoadingAndUnhealthy(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(_ *api.Options, o *engine.Options) { o.ResidencyInterval = time.Millisecond })
	loading := httptest.NewRecorder()
	unready := api.New(api.Options{
		WorkerID: "w", Model: api.Model{Name: "fake"}, Device: "cpu", Logger: h.logger, Metrics: h.metrics, Started: time.Now(),
	})
	unready.ServeHTTP(loading, httptest.NewRequest(http.MethodGet, "/health", nil))
	g.Expect(loading.Code).To(Equal(503))
	g.Expect(loading.Body.String()).To(ContainSubstring(`"status":"loading"`))
	loading = httptest.NewRecorder()
	unready.ServeHTTP(loading, httptest.NewRequest(http.MethodPost, "/execute", nil))
	g.Expect(loading.Code).To(Equal(503))
	g.Expect(loading.Header().Get("Retry-After")).To(Equal("1"))

	h.device.SetResidency(&native.Error{Status: native.StatusResidencyFailed, Message: "elsewhere"})
	g.Eventually(func() int { return h.do("GET", "/health", "").StatusCode }).Should(Equal(503))
	_, body := h.json("GET", "/health", "")
	g.Expect(body).To(And(HaveKeyWithValue("status", "unhealthy"), HaveKeyWithValue("resident", false),
		HaveKeyWithValue("reason", ContainSubstring("blk.0.attn_q.weight"))))
	h.device.SetResidency(nil)
	g.Eventually(func() int { return h.do("GET", "/health", "").StatusCode }).Should(Equal(200))
}

func TestShutdown(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	status, body := h.json("POST", "/shutdown", "", "Content-Type", "application/json")
	g.Expect(status).To(Equal(202))
	g.Expect(body).To(HaveKeyWithValue("status", "shutting_down"))
	g.Expect(h.shutdown).To(Receive())
	g.Expect(h.engine.Drain(t.Context())).To(Succeed())
	status, body = h.json("POST", "/execute", `{"job_id":"a","prompt":"x"}`)
	g.Expect(status).To(Equal(503))
	g.Expect(body).To(And(HaveKeyWithValue("code", "SHUTTING_DOWN"), HaveKeyWithValue("retriable", true)))
	_, body = h.json("GET", "/health", "")
	g.Expect(body).To(HaveKeyWithValue("status", "unhealthy"))
}

func TestAPanicBecomesInternal(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.Shutdown = func() { panic("a defect") } })
	h.api.Ready(nil, nil, native.DeviceProperties{}) // health without an engine panics
	status, body := h.json("GET", "/health", "", "X-Correlation-ID", "c-1")
	g.Expect(status).To(Equal(500))
	g.Expect(body).To(And(HaveKeyWithValue("code", "INTERNAL"), HaveKeyWithValue("correlation_id", "c-1")))
}

func TestTokenizeAndDetokenize(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	_, body := h.json("POST", "/tokenize", `{"text":"aé"}`)
	g.Expect(body).To(HaveKeyWithValue("count", 4.0))
	g.Expect(body["tokens"].([]any)[1]).To(Equal(map[string]any{"id": 97.0, "piece": "a"}))
	g.Expect(body["tokens"].([]any)[2]).To(HaveKeyWithValue("bytes", []any{195.0}))
	_, body = h.json("POST", "/detokenize", `{"ids":[97,195,169,195]}`)
	g.Expect(body).To(Equal(map[string]any{"text": "aé\uFFFD"}))
	for _, bad := range []string{`{"ids":[258]}`, `{"ids":[-1]}`, `{"ids":["a"]}`, `{"ids":1}`, `{}`, `{"ids":[1.5]}`} {
		status, _ := h.json("POST", "/detokenize", bad)
		g.Expect(status).To(Equal(400), bad)
	}
}

func TestMetrics(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	h.events(h.do("POST", "/execute", `{"job_id":"a","prompt":"xy","max_tokens":3}`).Body)
	h.json("POST", "/execute", `{}`)
	body, _ := io.ReadAll(h.do("GET", "/metrics", "").Body)
	for _, want := range []string{
		`worker_requests_total{outcome="max_tokens"} 1`, `worker_requests_total{outcome="INVALID_REQUEST"} 1`,
		`worker_output_tokens_total 3`, `worker_prompt_tokens_total 3`, `worker_time_to_first_token_seconds_count 1`,
		`worker_inter_token_seconds_count 2`, `worker_prefill_seconds_count 1`, `worker_queue_seconds_count 1`,
		`worker_kv_blocks{state="free"} 100`, `worker_memory_bytes{kind="weights"} 5000`, `worker_resident 1`, `worker_uptime_seconds `,
		`worker_jobs{state="running"} 0`,
	} {
		g.Expect(string(body)).To(ContainSubstring(want))
	}
}

func TestLogsHoldIdsAndNoTexts(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	h.events(h.do("POST", "/execute", `{"job_id":"job-7","prompt":"secret|answer","stop":["stopper"]}`, "X-Correlation-ID", "corr-7").Body)
	h.do("POST", "/execute", `{"job_id":"job-8","prompt":"secret","temperature":"secret"}`)
	g.Expect(h.engine.Close()).To(Succeed())
	log := h.log.String()
	g.Expect(log).To(And(ContainSubstring("job-7"), ContainSubstring("corr-7"), ContainSubstring(`"event":"job_ended"`)))
	g.Expect(log).NotTo(Or(ContainSubstring("secret"), ContainSubstring("answer"), ContainSubstring("stopper")))
}

func TestThePageAndTheDescriptionAreServed(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	body, _ := io.ReadAll(h.do("GET", "/", "").Body)
	g.Expect(string(body)).To(ContainSubstring("Touchstone worker"))
	g.Expect(string(body)).NotTo(MatchRegexp(`(src|href)="?http`), "the page needs nothing from elsewhere")
	body, _ = io.ReadAll(h.do("GET", "/openapi.yaml", "").Body)
	g.Expect(string(body)).To(HavePrefix("openapi: 3"))
}

// Answers of every endpoint, good and bad, are what openapi.yaml says.
func TestResponsesConformToOpenAPI(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, func(a *api.Options, _ *engine.Options) { a.Model.Chat = chatTemplate(t) })
	document := openAPI(t)
	document.Servers = nil
	router, err := gorillamux.NewRouter(document)
	g.Expect(err).NotTo(HaveOccurred())
	for _, contentType := range []string{"text/html", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(contentType, openapi3filter.FileBodyDecoder)
		t.Cleanup(func() { openapi3filter.UnregisterBodyDecoder(contentType) })
	}
	tried := map[string]bool{}
	for _, c := range [][3]string{
		{"GET", "/health", ""}, {"GET", "/", ""}, {"GET", "/openapi.yaml", ""}, {"GET", "/metrics", ""},
		{"POST", "/execute", `{"job_id":"a","prompt":"x","max_tokens":2,"logprobs":2,"logits_hash":true}`},
		{"POST", "/execute", `{"job_id":""}`}, {"GET", "/jobs/a/events", ""}, {"GET", "/jobs/b/events", ""},
		{"POST", "/cancel", `{"job_id":"a"}`}, {"POST", "/cancel", `{"job_id":"b"}`}, {"POST", "/shutdown", "{}"},
		{"POST", "/tokenize", `{"text":"é"}`}, {"POST", "/tokenize", `{}`}, {"POST", "/detokenize", `{"ids":[97]}`},
		{"POST", "/detokenize", `{"ids":[970]}`}, {"GET", "/v1/models", ""}, {"GET", "/v1/models/fake", ""}, {"GET", "/v1/models/other", ""},
		{"POST", "/v1/completions", `{"model":"fake","prompt":"x","logprobs":2}`}, {"POST", "/v1/completions", `{"model":"other"}`},
		{"POST", "/v1/completions", `{"model":"fake","prompt":"x","stream":true}`},
		{"POST", "/v1/chat/completions", `{"model":"fake","messages":[{"role":"user","content":"x|yes"}],"logprobs":true,"top_logprobs":2}`},
		{"POST", "/v1/chat/completions", `{"model":"fake","messages":[]}`},
	} {
		response := h.do(c[0], c[1], c[2])
		body, err := io.ReadAll(response.Body)
		g.Expect(err).NotTo(HaveOccurred())
		request := httptest.NewRequest(c[0], c[1], strings.NewReader(c[2]))
		route, parameters, err := router.FindRoute(request)
		g.Expect(err).NotTo(HaveOccurred(), "%s %s", c[0], c[1])
		tried[route.Path] = true
		g.Expect(conforms(t, request, route, parameters, response, body)).To(Succeed(), "%v: %d %s", c, response.StatusCode, body)
		if response.Header.Get("Content-Type") == "text/event-stream" && !strings.HasPrefix(c[1], "/v1/") {
			for _, event := range h.events(strings.NewReader(string(body))) {
				schema := map[string]string{"started": "Started", "token": "Token", "end": "End", "error": "Failed"}[event.name]
				g.Expect(document.Components.Schemas[schema].Value.VisitJSON(any(event.data))).To(Succeed(), "%v", event)
			}
		}
	}
	g.Expect(tried).To(HaveLen(document.Paths.Len()), "every path of openapi.yaml was tried")
}

func conforms(t *testing.T, request *http.Request, route *routers.Route, parameters map[string]string, response *http.Response, body []byte) error {
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route},
		Status:                 response.StatusCode, Header: response.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	return openapi3filter.ValidateResponse(t.Context(), input.SetBodyBytes(body))
}
