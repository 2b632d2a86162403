// Command bench measures the CPU kernels on a model of exactly Qwen2.5-0.5B's shape with random weights, beside the
// machine's own read bandwidth and FMA peak, measured in the same run.
//
//	go run ./native/cpu/bench [-threads N] [-isa NAME] [-formats f16,q8_0] [-repeats 5]
package main

// #cgo CXXFLAGS: -std=c++20 -O3 -Wall -Wextra -fvisibility=hidden
// #cgo LDFLAGS: -Wl,--unresolved-symbols=ignore-all
// #include "bench.h"
import "C"

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	_ "touchstone/native/cpu" // the kernels that are measured
)

var formats = []struct {
	name   string
	number int
}{
	{"f32", 0}, {"f16", 1}, {"bf16", 30}, {"q8_0", 8}, {"q4_0", 2}, {"q4_1", 3}, {"q5_0", 6}, {"q5_1", 7},
	{"q4_k", 12}, {"q5_k", 13}, {"q6_k", 14},
}

var isas = map[string]int{"auto": 0, "scalar": 1, "avx2": 2, "avx512": 3, "neon": 4}

func main() {
	threads := flag.Int("threads", int(C.bench_cores()), "threads that compute")
	isa := flag.String("isa", "auto", "auto, scalar, avx2, avx512 or neon")
	wanted := flag.String("formats", "f16,q8_0,q4_0,q4_k", "weight formats, separated by commas")
	repeats := flag.Int("repeats", 5, "measurements of which the median counts")
	flag.Parse()
	if err := run(*threads, *isa, strings.Split(*wanted, ","), *repeats); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(threads int, isa string, wanted []string, repeats int) error {
	number, ok := isas[isa]
	if !ok || threads < 1 || repeats < 1 {
		return errors.New("unknown -isa, or -threads or -repeats below 1; see -help")
	}
	peak := float64(C.bench_fma_peak(C.int(threads)))
	bandwidth := float64(C.bench_read_bandwidth(C.int(threads)))
	fmt.Printf("machine: %s, %d threads, FMA peak %.1f GFLOP/s, read bandwidth %.1f GB/s\n\n",
		C.GoString(C.bench_isa()), threads, peak, bandwidth)
	fmt.Println("| format | load s | weights MB | prefill 128 tok/s (of FMA peak) | prefill 512 tok/s (of FMA peak) | decode at 0 tok/s (of bandwidth) | decode at 4095 tok/s |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- |")
	for _, format := range formats {
		if !slices.Contains(wanted, format.name) {
			continue
		}
		if err := measure(number, threads, format.name, format.number, repeats, peak, bandwidth); err != nil {
			return err
		}
	}
	order()
	return nil
}

func measure(isa, threads int, name string, dtype, repeats int, peak, bandwidth float64) error {
	var text *C.char
	model := C.bench_open(C.int(isa), C.int(threads), C.int(dtype), &text)
	if model == nil {
		return errors.New(C.GoString(text))
	}
	defer C.bench_close(model)
	median := func(first, rows int) (float64, error) {
		seconds := make([]float64, repeats)
		for i := range seconds {
			if seconds[i] = float64(C.bench_step(model, C.int(first), C.int(rows))); seconds[i] < 0 {
				return 0, fmt.Errorf("%s: a step of %d tokens at %d failed", name, rows, first)
			}
		}
		slices.Sort(seconds)
		return seconds[repeats/2], nil
	}
	var times [4]float64
	for i, step := range [][2]int{{0, 128}, {0, 512}, {0, 1}, {4095, 1}} {
		var err error
		if times[i], err = median(step[0], step[1]); err != nil {
			return err
		}
	}
	operations := float64(C.bench_token_operations(model))
	bytes := float64(C.bench_weight_bytes(model))
	// The head is evaluated for the last token alone, so its operations do not count in a prefill.
	body := operations - 2*896*151936
	share := func(rows int, seconds float64) float64 { return body * float64(rows) / seconds / 1e9 / peak }
	fmt.Printf("| %s | %.2f | %.0f | %.1f (%.2f) | %.1f (%.2f) | %.1f (%.2f) | %.1f |\n", name,
		float64(C.bench_load_seconds(model)), bytes/1e6, 128/times[0], share(128, times[0]), 512/times[1], share(512, times[1]),
		1/times[2], bytes/times[2]/1e9/bandwidth, 1/times[3])
	return nil
}

// order prints what the canonical order costs: the same kernel with chains over all inputs, one thread.
func order() {
	fmt.Println("\n| linear, one thread | rows | canonical GOP/s | free order GOP/s | price |\n| --- | --- | --- | --- | --- |")
	for _, format := range formats {
		if format.name != "f16" && format.name != "q8_0" {
			continue
		}
		for _, shape := range [][3]int{{896, 4864, 120}, {4864, 896, 120}, {896, 4864, 1}} {
			rate := func(free int) float64 {
				seconds := float64(C.bench_linear(C.int(format.number), C.int(shape[0]), C.int(shape[1]), C.int(shape[2]), C.int(free)))
				return 2 * float64(shape[0]*shape[1]*shape[2]) / seconds / 1e9
			}
			canonical, free := rate(0), rate(1)
			if canonical < 0 {
				continue
			}
			fmt.Printf("| %s %dx%d | %d | %.1f | %.1f | %+.1f %% |\n", format.name, shape[1], shape[0], shape[2], canonical, free,
				100*(free/canonical-1))
		}
	}
}
