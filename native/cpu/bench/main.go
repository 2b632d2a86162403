// Command bench measures single CPU kernels on the shapes of Qwen2.5-0.5B, beside the FMA peak measured in the same run, and
// what the canonical order costs them. Whole models are measured by `worker bench`.
//
//	go run ./native/cpu/bench [-isa NAME] [-formats f16,q8_0]
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
	"strings"

	_ "touchstone/native/cpu" // the kernels that are measured
	"touchstone/native/cpu/machine"
)

// formats are the weight formats with their ts_dtype.
var formats = []struct {
	name   string
	number int
}{
	{"f32", 0}, {"f16", 1}, {"bf16", 30}, {"q8_0", 8}, {"q4_0", 2}, {"q4_1", 3}, {"q5_0", 6}, {"q5_1", 7},
	{"q4_k", 12}, {"q5_k", 13}, {"q6_k", 14},
}

// isas are the instruction sets with their ts_isa.
var isas = map[string]int{"auto": 0, "scalar": 1, "avx2": 2, "avx512": 3, "neon": 4}

// shapes are [inputs, outputs, rows]: a prefill of 120 tokens through the feed-forward layers, tokens of some sequences in
// company, and one token. The K formats need rows that are a multiple of 256.
var shapes = [][3]int{{896, 4864, 120}, {4864, 896, 120}, {896, 4864, 16}, {896, 4864, 5}, {896, 4864, 4}, {896, 4864, 1}}

func main() {
	isa := flag.String("isa", "auto", "auto, scalar, avx2, avx512 or neon")
	wanted := flag.String("formats", "", "weight formats, separated by commas; default: all")
	flag.Parse()
	if err := run(*isa, *wanted); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(isa, wanted string) error {
	number, known := isas[isa]
	if !known || C.bench_isa(C.int(number)) == nil {
		return fmt.Errorf("-isa %q: want one that this processor has, of auto, scalar, avx2, avx512, neon", isa)
	}
	chosen, err := choose(wanted)
	if err != nil {
		return err
	}
	peak := machine.Measure(1).FMA
	fmt.Printf("%s, one thread, FMA peak %.1f GFLOP/s\n\n", C.GoString(C.bench_isa(C.int(number))), peak/1e9)
	fmt.Println("| linear, outputs x inputs | rows | GOP/s | of FMA peak | free order | price of the order |\n| --- | ---: | ---: | ---: | ---: | ---: |")
	for _, dtype := range chosen {
		for _, shape := range shapes {
			if strings.HasSuffix(formats[dtype].name, "_k") {
				shape[0], shape[1] = (shape[0]+255)/256*256, (shape[1]+255)/256*256
			}
			printLinear(number, dtype, shape, peak)
		}
	}
	return nil
}

// choose gives the indices in formats of a list of names; all of them for an empty list.
func choose(wanted string) ([]int, error) {
	var chosen []int
	for i, format := range formats {
		if wanted == "" || strings.Contains(","+wanted+",", ","+format.name+",") {
			chosen = append(chosen, i)
		}
	}
	if wanted != "" && len(chosen) != strings.Count(wanted, ",")+1 {
		return nil, errors.New("-formats: want names of f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, each once")
	}
	return chosen, nil
}

func printLinear(isa, format int, shape [3]int, peak float64) {
	rate := func(freeOrder int) float64 {
		seconds := float64(C.bench_linear(C.int(isa), C.int(formats[format].number), C.int(shape[0]), C.int(shape[1]), C.int(shape[2]), C.int(freeOrder)))
		return 2 * float64(shape[0]*shape[1]*shape[2]) / seconds
	}
	canonical, free := rate(0), rate(1)
	price := "| |"
	if free > 0 {
		price = fmt.Sprintf("%.1f | %+.1f %% |", free/1e9, 100*(free/canonical-1))
	}
	fmt.Printf("| %s %d x %d | %d | %.1f | %.2f | %s\n", formats[format].name, shape[1], shape[0], shape[2], canonical/1e9, canonical/peak, price)
}
