package api

import (
	"fmt"
	"net/http"
	"time"

	"touchstone/native"
)

type healthBody struct {
	Status             string  `json:"status"` // healthy, loading or unhealthy
	Reason             string  `json:"reason,omitempty"`
	WorkerID           string  `json:"worker_id"`
	Version            string  `json:"version"`
	Model              string  `json:"model"`
	Architecture       string  `json:"architecture"`
	QuantKind          string  `json:"quant_kind"`
	Resident           bool    `json:"resident"`
	Device             string  `json:"device"`
	DeviceName         string  `json:"device_name"`
	Numerics           string  `json:"numerics"`
	VRAMBytesUsed      uint64  `json:"vram_bytes_used"`
	VRAMBytesReserved  uint64  `json:"vram_bytes_reserved"`
	VRAMBytesTotal     uint64  `json:"vram_bytes_total"`
	TokenizerKind      string  `json:"tokenizer_kind"`
	VocabSize          int     `json:"vocab_size"`
	ContextLength      int     `json:"context_length"`
	UptimeSeconds      float64 `json:"uptime_seconds"`
	JobsRunning        int     `json:"jobs_running"`
	JobsWaiting        int     `json:"jobs_waiting"`
	SM                 string  `json:"sm,omitempty"`
	CUDARuntimeVersion string  `json:"cuda_runtime_version,omitempty"`
}

// health answers from what the engine's loop published last; it never waits for the device.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	model := s.options.Model
	body := healthBody{
		Status: "loading", WorkerID: s.options.WorkerID, Version: s.options.Version, Model: model.Name,
		Architecture: model.Architecture, QuantKind: model.QuantKind, Device: s.options.Device, Numerics: s.options.Numerics,
		TokenizerKind: model.TokenizerKind, VocabSize: model.VocabSize, ContextLength: model.ContextLength,
		UptimeSeconds: time.Since(s.options.Started).Seconds(),
	}
	code := http.StatusServiceUnavailable
	if ready := s.ready.Load(); ready != nil {
		status := ready.engine.Status()
		body.Resident = status.Residency.Resident
		body.VRAMBytesUsed = status.VRAMBytesUsed()
		body.VRAMBytesReserved = status.Memory.Total()
		body.VRAMBytesTotal = ready.device.MemoryTotal
		body.DeviceName = ready.device.Name
		body.JobsRunning, body.JobsWaiting = ready.engine.Counts()
		if ready.device.Kind == native.DeviceCUDA {
			body.SM = fmt.Sprintf("%d.%d", ready.device.ComputeMajor, ready.device.ComputeMinor)
			body.CUDARuntimeVersion = fmt.Sprintf("%d.%d", ready.device.RuntimeVersion/1000, ready.device.RuntimeVersion%1000/10)
		}
		body.Status, code = "healthy", http.StatusOK
		hungFor, hung := ready.engine.Hung()
		switch {
		case hung:
			body.Status, body.Reason, code = "unhealthy", fmt.Sprintf("the device has been at one step for %s", hungFor.Round(time.Second)), http.StatusServiceUnavailable
		case !body.Resident:
			body.Status, body.Reason, code = "unhealthy", status.Residency.Problem, http.StatusServiceUnavailable
		case ready.engine.Draining():
			body.Status, body.Reason, code = "unhealthy", "the worker is shutting down", http.StatusServiceUnavailable
		}
	}
	s.reply(w, code, body)
}
