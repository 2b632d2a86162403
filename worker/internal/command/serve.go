package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"touchstone/worker/api"
	"touchstone/worker/engine"
	"touchstone/worker/internal/metrics"
)

// What an engine of the worker keeps and how it cuts prompts.
const (
	prefillChunk = 64
	stepTarget   = 5 * time.Millisecond
	keepEnded    = 256
	keepFor      = 5 * time.Minute
	cancelGrace  = 5 * time.Second // for a step to end once its jobs were cancelled
)

// serveFlags are the settings of `worker serve`.
type serveFlags struct {
	deviceFlags
	logFlags
	model             string
	aliases           []string
	strictModel       bool
	context           int
	host              string
	port              int
	workerID          string
	callbackURL       string
	maxTokensOut      int
	inferenceTimeout  time.Duration
	kvCacheBytes      int
	maxJobs           int
	queue             int
	apiKeyFile        string
	origins           api.Origins
	stepTimeout       time.Duration
	residencyInterval time.Duration
	keepAlive         time.Duration
	writeTimeout      time.Duration
	drainTimeout      time.Duration
}

func newServe() *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve a model over HTTP", Args: takes(""),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.serve(cmd.Context(), cmd.ErrOrStderr()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	checked(flags, &f.model, "model", "PATH", "", "GGUF file (default: "+defaultModel+")", path)
	checked(flags, &f.aliases, "alias", "NAME,...", "", "names of the model instead of the file's own; the first stands in answers", names)
	flags.BoolVar(&f.strictModel, "strict-model", false, "refuse requests for a model of another name (default: any name means this model)")
	checked(flags, &f.context, "context", "N", "0", "most tokens of a prompt with its answer (0: what the model is made for)", integer(0, engine.MaxContext))
	f.deviceFlags.define(flags)
	checked(flags, &f.host, "host", "ADDR", "127.0.0.1", "address to listen on", host)
	checked(flags, &f.port, "port", "N", "8080", "port to listen on; 0 takes a free one and logs it", integer(0, 65535))
	checked(flags, &f.workerID, "worker-id", "UUID", "", "id of this worker (default: a new one)", workerID)
	checked(flags, &f.callbackURL, "callback-url", "URL", "", "where to POST that the worker is ready", callbackURL)
	checked(flags, &f.maxTokensOut, "max-tokens-out", "N", "0", "largest max_tokens of a request (0: what the context leaves)", integer(0, engine.MaxContext))
	checked(flags, &f.inferenceTimeout, "inference-timeout", "DURATION", "300s", "from the arrival of a job to its end",
		duration(time.Millisecond, 24*time.Hour))
	checked(flags, &f.kvCacheBytes, "kv-cache-bytes", "N", "0", "size of the KV cache (0: full contexts for all jobs, at most 1 GiB or one context)",
		integer(0, 1<<50))
	checked(flags, &f.maxJobs, "max-jobs", "N", "8", "jobs that run together", integer(1, 256))
	checked(flags, &f.queue, "queue", "N", "64", "jobs that may wait", integer(0, 65536))
	checked(flags, &f.apiKeyFile, "api-key-file", "PATH", "", "file with the key that clients must send", path)
	checked(flags, &f.origins, "cors-origin", "loopback|none|*|ORIGIN,...", "loopback", "web pages that may call the worker from a browser", api.ParseOrigins)
	checked(flags, &f.residencyInterval, "residency-interval", "DURATION", "5s", "between residency checks", duration(time.Millisecond, time.Hour))
	checked(flags, &f.keepAlive, "keep-alive", "DURATION", "15s", "silence after which a stream gets a comment", duration(time.Millisecond, time.Hour))
	checked(flags, &f.writeTimeout, "write-timeout", "DURATION", "10s", "time for a client to take what is written to it", duration(time.Millisecond, time.Hour))
	checked(flags, &f.stepTimeout, "step-timeout", "DURATION", "2m", "time at one step after which /health calls the device hung", duration(time.Second, 24*time.Hour))
	checked(flags, &f.drainTimeout, "drain-timeout", "DURATION", "4s", "time for running jobs to end at shutdown", duration(0, time.Hour))
	f.logFlags.define(flags)
	return cmd
}

// serve runs the worker until ctx ends or a client asks for the end. What it owns is released in reverse order.
func (f *serveFlags) serve(ctx context.Context, stderr io.Writer) error {
	started := time.Now()
	apiKey, err := readAPIKey(f.apiKeyFile)
	if err != nil {
		return err
	}
	m, err := openModelFor(f.model, f.context)
	if err != nil {
		return err
	}
	defer m.Close()
	if len(f.aliases) > 0 {
		m.about.Name, m.about.Aliases = f.aliases[0], f.aliases[1:]
	}
	f.origins.Host = f.host
	if f.maxTokensOut == 0 {
		f.maxTokensOut = engine.MaxContext
	}
	device, err := f.open()
	if err != nil {
		return err
	}
	defer device.Close()
	address := net.JoinHostPort(f.host, strconv.Itoa(f.port))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return explainListen(err, address)
	}
	if f.workerID == "" {
		f.workerID = uuid.NewString()
	}
	logger := f.logger(stderr).With("worker_id", f.workerID)
	ctx, shutdown := context.WithCancel(ctx)
	defer shutdown()
	measurements := metrics.New(started)
	server := api.New(api.Options{
		WorkerID: f.workerID, Version: Version, Model: m.about, Device: device.name, Numerics: f.numerics, APIKey: apiKey,
		Origins: f.origins, StrictModel: f.strictModel,
		Limits: api.Limits{
			MaxTokens: f.maxTokensOut, VocabSize: m.about.VocabSize, StopSequences: engine.MaxStopSequences,
			StopTokens: engine.MaxStopTokens, CountTokens: m.tokenizer.Count,
		},
		KeepAlive: f.keepAlive, WriteTimeout: f.writeTimeout, Started: started, Logger: logger, Metrics: measurements,
		Shutdown: shutdown,
	})
	stop := startHTTP(server, listener, logger, shutdown)
	defer stop()
	logger.Info("listening", "event", "listening", "addr", listener.Addr().String(), "model", m.about.Name, "device", device.name)
	if !f.canonical() {
		logger.Warn(notCanonical, "event", "not_canonical", "numerics", f.numerics)
	}
	return f.run(ctx, stderr, logger, m, device, server, measurements, listener.Addr().String())
}

// run loads the model and serves it until ctx ends.
func (f *serveFlags) run(ctx context.Context, stderr io.Writer, logger *slog.Logger, m *modelFile, device *opened,
	server *api.Server, measurements *metrics.Metrics, address string) error {
	m.description.KVCacheBytes = uint64(f.kvCacheBytes)
	if f.kvCacheBytes == 0 {
		m.description.KVCacheBytes = kvCacheBytes(&m.description, f.maxJobs, device.properties.MemoryFree)
	}
	begun := time.Now()
	model, err := loadModel(ctx, device, m, newProgress(stderr, logger))
	if err != nil {
		if ctx.Err() != nil { // asked to end before the model was there
			return nil
		}
		return err
	}
	if err := m.Close(); err != nil { // gives the mapped weights back
		return err
	}
	defer func() {
		if err := model.Close(); err != nil {
			logger.Error("model not released", "event", "model_close_failed", "error", err)
		}
	}()
	e, err := engine.New(engine.Options{
		Context: device.context, Model: model, Tokenizer: m.tokenizer, ModelName: m.about.Name, ContextLength: m.about.ContextLength,
		MaxTokens: min(f.maxTokensOut, engine.MaxOutputTokens), EndTokens: endTokens(m), MaxJobs: f.maxJobs, Queue: f.queue, PrefillChunk: prefillChunk,
		StepTarget: stepTarget, InferenceTimeout: f.inferenceTimeout, ResidencyInterval: f.residencyInterval, KeepEnded: keepEnded, KeepFor: keepFor,
		StepTimeout: f.stepTimeout, CancelGrace: cancelGrace,
		Logger: logger, Metrics: measurements,
	})
	if err != nil {
		return err
	}
	defer e.Close()
	server.Ready(e, m.tokenizer, device.properties)
	logger.Info("ready", "event", "ready", "load_ms", time.Since(begun).Milliseconds(), "vram_bytes_used", e.Status().VRAMBytesUsed())
	f.callBack(ctx, logger, m, e, address)

	<-ctx.Done()
	logger.Info("shutting down", "event", "shutting_down")
	drain, cancel := context.WithTimeout(hurried(ctx), f.drainTimeout)
	defer cancel()
	return e.Drain(drain)
}

// endTokens lists the tokens that end a text.
func endTokens(m *modelFile) []int32 {
	var ends []int32
	for id := range int32(m.about.VocabSize) {
		if m.tokenizer.IsEndOfText(id) {
			ends = append(ends, id)
		}
	}
	return ends
}

// startHTTP serves until the function it returns is called, which lets answers under way end. A server that fails by
// itself calls failed.
func startHTTP(handler http.Handler, listener net.Listener, logger *slog.Logger, failed func()) (stop func()) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("HTTP server failed", "event", "http_failed", "error", err)
			failed()
		}
	}()
	return func() {
		const grace = 500 * time.Millisecond
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		if server.Shutdown(ctx) != nil { // a client is slow to take its last bytes
			_ = server.Close()
		}
		<-ended
		logger.Info("stopped", "event", "stopped")
	}
}

func readAPIKey(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", usageError{fmt.Errorf("--api-key-file must be a file that can be read: %w", err)}
	}
	key := strings.TrimSpace(string(data))
	if key == "" {
		return "", usageError{fmt.Errorf("--api-key-file must hold a key, but %s is empty", name)}
	}
	return key, nil
}

func explainListen(err error, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("the address %s is in use; choose another --port, or 0 for a free one", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listening on %s is not permitted; choose a --port of 1024 or more", address)
	}
	return fmt.Errorf("cannot listen on %s (--host, --port): %w", address, err)
}

// callBack POSTs that the worker is ready. A failure is logged; the worker serves all the same.
func (f *serveFlags) callBack(ctx context.Context, logger *slog.Logger, m *modelFile, e *engine.Engine, address string) {
	if f.callbackURL == "" {
		return
	}
	body, err := json.Marshal(map[string]any{
		"worker_id": f.workerID, "status": "ready", "url": "http://" + address, "model": m.about.Name,
		"vram_bytes_used": e.Status().VRAMBytesUsed(),
	})
	if err != nil { // only a defect of this function can cause it
		panic(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.callbackURL, bytes.NewReader(body))
	if err == nil {
		request.Header.Set("Content-Type", "application/json")
		var response *http.Response
		if response, err = http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode >= http.StatusMultipleChoices {
				err = fmt.Errorf("it answered %s", response.Status)
			}
		}
	}
	if err != nil {
		logger.Error("callback failed", "event", "callback_failed", "error", err)
		return
	}
	logger.Info("callback done", "event", "callback_done")
}
