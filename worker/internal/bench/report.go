package bench

import (
	"encoding/json"
	"fmt"
	"io"
)

// Report is what one benchmark measured, with what it needs to be read.
type Report struct {
	Worker  string `json:"worker"`
	Model   string `json:"model"`
	Quant   string `json:"quant_kind"`
	Device  string `json:"device"`
	ISA     string `json:"isa,omitempty"`
	Threads int    `json:"threads,omitempty"`

	// What this processor can do at most, measured in the same run; 0 on other devices.
	FMARate       float64 `json:"fma_per_second,omitempty"`
	ReadBandwidth float64 `json:"read_bytes_per_second,omitempty"`

	LoadSeconds  float64 `json:"load_seconds"`
	FileBytes    uint64  `json:"file_tensor_bytes"`
	WeightsBytes uint64  `json:"weights_bytes"` // as laid out on the device

	TokenOperations float64 `json:"operations_per_prompt_token"` // linear layers of the blocks: two for each weight
	TokenBytes      float64 `json:"bytes_per_decoded_token"`     // weights of blocks and head as stored in the file

	Prefill []Prefill `json:"prefill"`
	Decode  []Decode  `json:"decode"`
}

// JSON writes the report for programs.
func (r Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// Markdown writes the report for people. Shares are of the rates measured in the same run.
func (r Report) Markdown(w io.Writer) error {
	out := &writer{w: w}
	out.printf("%s · %s · %s · %s", r.Model, r.Quant, r.Device, r.Worker)
	if r.ISA != "" {
		out.printf(" · %s, %d threads", r.ISA, r.Threads)
	}
	out.printf("\n\n")
	if r.FMARate > 0 {
		out.printf("This processor: %.1f GFLOP/s of fused multiply-adds, %.1f GB/s read from memory.\n\n", r.FMARate/1e9, r.ReadBandwidth/1e9)
	}
	out.printf("Load: %.2f s for %.1f MB of tensors, %.1f MB on the device.\n", r.LoadSeconds, float64(r.FileBytes)/1e6, float64(r.WeightsBytes)/1e6)
	if len(r.Prefill) > 0 {
		out.printf("\n| prefill, tokens | ms (median) | fastest ... slowest | tokens/s | GOP/s | of FMA peak |\n| ---: | ---: | ---: | ---: | ---: | ---: |\n")
	}
	for _, p := range r.Prefill {
		operations := r.TokenOperations * p.Rate()
		out.printf("| %d | %.1f | %.1f ... %.1f | %.1f | %.1f | %s |\n", p.Tokens, 1e3*p.Seconds, 1e3*p.Fastest, 1e3*p.Slowest, p.Rate(), operations/1e9, share(operations, r.FMARate))
	}
	if len(r.Decode) > 0 {
		out.printf("\n| decode from position | ms a token (median) | fastest ... slowest | tokens/s | GB/s of weights | of bandwidth |\n| ---: | ---: | ---: | ---: | ---: | ---: |\n")
	}
	for _, d := range r.Decode {
		bytes := r.TokenBytes * d.Rate()
		out.printf("| %d | %.2f | %.2f ... %.2f | %.1f | %.1f | %s |\n", d.Position, 1e3*d.Seconds, 1e3*d.Fastest, 1e3*d.Slowest, d.Rate(), bytes/1e9, share(bytes, r.ReadBandwidth))
	}
	return out.err
}

// share says how much of a rate was reached, and nothing where the rate is not known.
func share(reached, rate float64) string {
	if rate <= 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", reached/rate)
}

// writer keeps the first error.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) printf(format string, arguments ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, arguments...)
	}
}
