package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"touchstone/native"
	"touchstone/worker/internal/bench"
	"touchstone/worker/internal/fake"
)

func TestRunEvaluatesWhatThePlanSays(t *testing.T) {
	device := fake.NewDevice(100)
	var steps []int
	device.Stepped = func(items []native.StepItem) { steps = append(steps, len(items[0].Tokens)) }
	var heard []string
	plan := bench.Plan{Prefill: []int{70}, Decode: []int{3, 0}, DecodeTokens: 2, Repeats: 2}
	prefill, decode, err := bench.Run(t.Context(), device, fake.VocabSize, fake.MaxRows, plan, func(what string) { heard = append(heard, what) })
	if err != nil {
		t.Fatal(err)
	}
	// Two prompts in steps of at most 64; then one token and two more, back to position 3, and the same there.
	if want := []int{64, 6, 64, 6, 1, 1, 1, 1, 1, 1}; !slices.Equal(steps, want) {
		t.Errorf("tokens of the steps are %v, want %v", steps, want)
	}
	if len(prefill) != 1 || prefill[0].Tokens != 70 || prefill[0].Seconds <= 0 || prefill[0].Fastest > prefill[0].Slowest {
		t.Errorf("prefill is %+v", prefill)
	}
	if len(decode) != 2 || decode[0].Position != 0 || decode[1].Position != 3 || decode[1].Seconds <= 0 {
		t.Errorf("decode is %+v, want positions 0 and 3", decode)
	}
	if want := []string{"prefill of 70 tokens", "decode from position 0", "decode from position 3"}; !slices.Equal(heard, want) {
		t.Errorf("progress was %v, want %v", heard, want)
	}
	if open := device.OpenSessions(); open != 0 {
		t.Errorf("%d sessions were left open", open)
	}
	if positions := plan.Positions(); positions != 70 {
		t.Errorf("the plan takes %d positions, want 70", positions)
	}
}

func TestRunGivesErrorsAndLeavesNoSession(t *testing.T) {
	plan := bench.Plan{Prefill: []int{8}, Decode: []int{0}, DecodeTokens: 1, Repeats: 1}
	failure := errors.New("the device is gone")
	device := fake.NewDevice(100)
	device.FailStep = func() error { return failure }
	if _, _, err := bench.Run(t.Context(), device, fake.VocabSize, fake.MaxRows, plan, func(string) {}); !errors.Is(err, failure) {
		t.Errorf("error is %v, want %v", err, failure)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := bench.Run(ended, device, fake.VocabSize, fake.MaxRows, plan, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	if open := device.OpenSessions(); open != 0 {
		t.Errorf("%d sessions were left open", open)
	}
}

func sample() bench.Report {
	return bench.Report{
		Worker: "touchstone", Model: "a <model>", Quant: "F16", Device: "processor", ISA: "avx512", Threads: 2,
		FMARate: 100e9, ReadBandwidth: 10e9, LoadSeconds: 1.5, FileBytes: 2e6, WeightsBytes: 3e6, TokenOperations: 1e9, TokenBytes: 1e8,
		Prefill: []bench.Prefill{{Tokens: 100, Seconds: 2, Fastest: 1, Slowest: 3}, {Tokens: 200, Seconds: 5, Fastest: 5, Slowest: 5}},
		Decode:  []bench.Decode{{Position: 0, Seconds: 0.02, Fastest: 0.01, Slowest: 0.03}},
	}
}

func TestMarkdownGivesSharesOfTheMachine(t *testing.T) {
	var text bytes.Buffer
	if err := sample().Markdown(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| 100 | 2000.0 | 1000.0 ... 3000.0 | 50.0 | 50.0 | 0.50 |", // 50 tokens/s of 1 GOP each, of 100
		"| 0 | 20.00 | 10.00 ... 30.00 | 50.0 | 5.0 | 0.50 |",       // 50 tokens/s of 0.1 GB each, of 10
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, text.String())
		}
	}
}

func TestJSONHasEveryFigure(t *testing.T) {
	var text bytes.Buffer
	if err := sample().JSON(&text); err != nil {
		t.Fatal(err)
	}
	var read bench.Report
	if err := json.Unmarshal(text.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Prefill) != 2 || read.Prefill[1] != sample().Prefill[1] || len(read.Decode) != 1 || read.ReadBandwidth != 10e9 {
		t.Errorf("read back: %+v", read)
	}
}

func TestSVGIsWellFormedAndShowsEveryPoint(t *testing.T) {
	var text bytes.Buffer
	if err := sample().SVG(&text); err != nil {
		t.Fatal(err)
	}
	circles := 0
	for decoder := xml.NewDecoder(bytes.NewReader(text.Bytes())); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text.String())
		}
		if start, is := token.(xml.StartElement); is && start.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 3 {
		t.Errorf("%d points, want 3", circles)
	}
}
