package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gleak"

	"touchstone/native"
	"touchstone/worker/api"
	"touchstone/worker/engine"
	"touchstone/worker/internal/fake"
	"touchstone/worker/internal/metrics"
)

// harness is a worker on a fake device, served over real connections.
type harness struct {
	*testing.T
	device   *fake.Device
	engine   *engine.Engine
	api      *api.Server
	server   *httptest.Server
	client   *http.Client
	log      *bytes.Buffer // read only after the server has stopped
	logger   *slog.Logger
	metrics  *metrics.Metrics
	shutdown chan struct{}
}

func limits() api.Limits {
	return api.Limits{
		MaxTokens: engine.MaxContext, VocabSize: fake.VocabSize, StopSequences: engine.MaxStopSequences,
		StopTokens: engine.MaxStopTokens, CountTokens: fake.Tokenizer{}.Count,
	}
}

// newHarness starts a worker. Nothing of it may be left at the end of the test.
func newHarness(t *testing.T, adjust ...func(*api.Options, *engine.Options)) *harness {
	t.Helper()
	g := NewWithT(t)
	before := gleak.Goroutines()
	h := &harness{
		T: t, device: fake.NewDevice(100), log: &bytes.Buffer{}, metrics: metrics.New(time.Now()), shutdown: make(chan struct{}, 1),
	}
	h.logger = slog.New(slog.NewJSONHandler(h.log, nil))
	apiOptions := api.Options{
		WorkerID: "11111111-1111-4111-8111-111111111111", Version: "test", Device: "cpu", Numerics: "canonical", Limits: limits(),
		Model: api.Model{
			Name: "fake", Architecture: "llama", QuantKind: "F32", TokenizerKind: "byte", VocabSize: fake.VocabSize,
			ContextLength: fake.ContextLength, Modified: time.Unix(1700000000, 0),
		},
		KeepAlive: time.Minute, WriteTimeout: 10 * time.Second, Started: time.Now(), Logger: h.logger, Metrics: h.metrics,
		Shutdown: func() { h.shutdown <- struct{}{} },
	}
	engineOptions := engine.Options{
		Context: h.device, Model: h.device, Tokenizer: fake.Tokenizer{}, ModelName: "fake", ContextLength: fake.ContextLength,
		MaxTokens: engine.MaxOutputTokens, EndTokens: []int32{fake.EndOfText}, MaxJobs: 8, Queue: 64, PrefillChunk: 16, InferenceTimeout: time.Minute,
		ResidencyInterval: time.Hour, KeepEnded: 100, KeepFor: time.Hour, Logger: h.logger, Metrics: h.metrics,
	}
	for _, f := range adjust {
		f(&apiOptions, &engineOptions)
	}
	var err error
	h.engine, err = engine.New(engineOptions)
	g.Expect(err).NotTo(HaveOccurred())
	h.api = api.New(apiOptions)
	h.api.Ready(h.engine, fake.Tokenizer{}, native.DeviceProperties{Name: "fake", MemoryTotal: 1 << 30})
	h.server = httptest.NewUnstartedServer(h.api)
	h.server.Config.ConnContext = func(ctx context.Context, connection net.Conn) context.Context {
		_ = connection.(*net.TCPConn).SetWriteBuffer(4096) // a client that does not read is noticed soon
		return ctx
	}
	h.server.Start()
	h.client = h.server.Client()
	t.Cleanup(func() {
		_ = h.engine.Close() // what it leaves is checked below
		h.client.CloseIdleConnections()
		h.server.Close()
		g.Expect(h.device.OpenSessions()).To(BeZero(), "sessions left open")
		g.Eventually(gleak.Goroutines).ShouldNot(gleak.HaveLeaked(before))
	})
	return h
}

// do sends a request and returns the answer, whose body the test's end closes.
func (h *harness) do(method, path, body string, headers ...string) *http.Response {
	h.Helper()
	request, err := http.NewRequest(method, h.server.URL+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { response.Body.Close() })
	return response
}

// json sends a request and decodes the answer.
func (h *harness) json(method, path, body string, headers ...string) (int, map[string]any) {
	h.Helper()
	response := h.do(method, path, body, headers...)
	data, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	value := map[string]any{}
	if err := json.Unmarshal(data, &value); err != nil {
		h.Fatalf("%s %s: %d, not JSON: %q", method, path, response.StatusCode, data)
	}
	return response.StatusCode, value
}

type event struct {
	id, name string
	data     map[string]any
}

// events reads a stream to its end, line by line.
func (h *harness) events(body io.Reader) []event {
	h.Helper()
	var events []event
	current := event{}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			current.id = value
		case "event":
			current.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &current.data); err != nil {
				h.Fatalf("data is not JSON: %q", value)
			}
		case "":
			if current.name != "" {
				events = append(events, current)
			}
			current = event{}
		}
	}
	if err := lines.Err(); err != nil {
		h.Fatal(err)
	}
	return events
}

func textOf(events []event) string {
	text := ""
	for _, e := range events {
		if e.name == "token" {
			text += e.data["t"].(string)
		}
	}
	return text
}

func TestExecuteStreamsAJob(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t)
	response := h.do("POST", "/execute", `{"job_id":"a","prompt":"x|hé😀","seed":18446744073709551615}`, "X-Correlation-ID", "c-1")
	g.Expect(response.StatusCode).To(Equal(200))
	g.Expect(response.Header.Get("Content-Type")).To(Equal("text/event-stream"))
	g.Expect(response.Header.Get("X-Correlation-ID")).To(Equal("c-1"))
	events := h.events(response.Body)
	g.Expect(textOf(events)).To(Equal("hé😀"))
	g.Expect(events[0].name).To(Equal("started"))
	g.Expect(events[0].data).To(HaveKeyWithValue("correlation_id", "c-1"))
	for i, e := range events {
		g.Expect(e.id).To(Equal(jsonNumber(i)))
	}
	end := events[len(events)-1]
	g.Expect(end.name).To(Equal("end"))
	g.Expect(end.data).To(HaveKeyWithValue("stop_reason", "end_of_text"))
	g.Expect(end.data).To(HaveKeyWithValue("tokens_out", BeNumerically("==", len(events)-2)))
}

func jsonNumber(n int) string {
	data, _ := json.Marshal(n)
	return string(data)
}
