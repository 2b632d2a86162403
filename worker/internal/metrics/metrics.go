// Package metrics holds what the worker tells Prometheus, in a registry of its own.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"touchstone/native"
)

// Metrics are the worker's measurements. All methods may be called from any goroutine.
type Metrics struct {
	Registry *prometheus.Registry

	requests       *prometheus.CounterVec
	PromptTokens   prometheus.Counter
	ReusedTokens   prometheus.Counter
	OutputTokens   prometheus.Counter
	firstToken     prometheus.Histogram
	interToken     prometheus.Histogram
	prefill        prometheus.Histogram
	queueWait      prometheus.Histogram
	jobs           *prometheus.GaugeVec
	kvBlocks       *prometheus.GaugeVec
	memory         *prometheus.GaugeVec
	memoryPeak     prometheus.Gauge
	resident       prometheus.Gauge
	residencyFails prometheus.Counter
}

// New makes the measurements and registers them; started is when the worker began.
func New(started time.Time) *Metrics {
	latency := prometheus.ExponentialBuckets(0.0005, 2, 18)
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "worker_" + name, Help: help, Buckets: latency})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "worker_" + name, Help: help})
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "worker_" + name, Help: help}, []string{label})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "worker_" + name, Help: help})
	}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_requests_total", Help: "Jobs by outcome: a stop reason or an error code."}, []string{"outcome"}),
		PromptTokens:   counter("prompt_tokens_total", "Tokens of prompts that were evaluated."),
		ReusedTokens:   counter("reused_tokens_total", "Tokens of prompts whose KV blocks were there already; with the ones evaluated, all of them."),
		OutputTokens:   counter("output_tokens_total", "Tokens generated."),
		firstToken:     histogram("time_to_first_token_seconds", "From the arrival of a job to its first token."),
		interToken:     histogram("inter_token_seconds", "Between two tokens of a job."),
		prefill:        histogram("prefill_seconds", "From the start of a job's prefill to its first token."),
		queueWait:      histogram("queue_seconds", "From the arrival of a job to the start of its prefill."),
		jobs:           gauges("jobs", "Jobs by state.", "state"),
		kvBlocks:       gauges("kv_blocks", "Blocks of the KV cache by state.", "state"),
		memory:         gauges("memory_bytes", "Bytes in the memory ledger by kind.", "kind"),
		memoryPeak:     gauge("memory_peak_bytes", "Most bytes in the memory ledger so far."),
		resident:       gauge("resident", "1 if the last residency check found every block in its place."),
		residencyFails: counter("residency_failures_total", "Residency checks that failed."),
	}
	uptime := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "worker_uptime_seconds", Help: "Time since the start."},
		func() float64 { return time.Since(started).Seconds() })
	m.Registry.MustRegister(m.requests, m.PromptTokens, m.ReusedTokens, m.OutputTokens, m.firstToken, m.interToken, m.prefill, m.queueWait,
		m.jobs, m.kvBlocks, m.memory, m.memoryPeak, m.resident, m.residencyFails, uptime,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the registry in Prometheus's text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}

// Outcome counts a job or a refused request by how it ended.
func (m *Metrics) Outcome(outcome string) { m.requests.WithLabelValues(outcome).Inc() }

// Started records how long a job waited in the queue.
func (m *Metrics) Started(waited time.Duration) { m.queueWait.Observe(waited.Seconds()) }

// FirstToken records a job's time to first token and the prefill within it.
func (m *Metrics) FirstToken(sinceArrival, prefill time.Duration) {
	m.firstToken.Observe(sinceArrival.Seconds())
	m.prefill.Observe(prefill.Seconds())
}

// NextToken records the time between two tokens of a job.
func (m *Metrics) NextToken(gap time.Duration) { m.interToken.Observe(gap.Seconds()) }

// Jobs sets how many jobs run and wait.
func (m *Metrics) Jobs(running, waiting int) {
	m.jobs.WithLabelValues("running").Set(float64(running))
	m.jobs.WithLabelValues("waiting").Set(float64(waiting))
}

// Memory sets the sums of the ledger and the state of the KV pool, of which so many blocks are kept for later prompts.
func (m *Metrics) Memory(stats native.MemoryStats, info native.ModelInfo, cached int) {
	m.memory.WithLabelValues("weights").Set(float64(stats.Weights))
	m.memory.WithLabelValues("kv").Set(float64(stats.KV))
	m.memory.WithLabelValues("activations").Set(float64(stats.Activations))
	m.memory.WithLabelValues("other").Set(float64(stats.Other))
	m.memoryPeak.Set(float64(stats.Peak))
	m.kvBlocks.WithLabelValues("free").Set(float64(info.KVBlocksFree))
	m.kvBlocks.WithLabelValues("used").Set(float64(info.KVBlocksTotal - info.KVBlocksFree - cached))
	m.kvBlocks.WithLabelValues("cached").Set(float64(cached))
}

// Residency records a residency check.
func (m *Metrics) Residency(ok bool) {
	if ok {
		m.resident.Set(1)
		return
	}
	m.resident.Set(0)
	m.residencyFails.Inc()
}
