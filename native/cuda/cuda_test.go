package cuda_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"touchstone/native"
)

// Memory that the host and the device share, in whatever way, must not exist in the backend.
func TestSourcesKnowDeviceMemoryOnly(t *testing.T) {
	banned := regexp.MustCompile(`(?i)cudaMallocManaged|cuMemAllocManaged|__managed__|cudaHostAlloc|cudaMallocHost|cuMemHostAlloc|cuMemAllocHost|` +
		`cudaHostRegister|cuMemHostRegister|cudaHostGetDevicePointer|cuMemHostGetDevicePointer|cudaMallocAsync|cudaMemPool|cuMemCreate|cudaMemPrefetch|cudaMemAdvise`)
	allocates := regexp.MustCompile(`\bcudaMalloc\w*\(`)
	files, allocations := 0, 0
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".cu", ".cuh", ".h", ".cc"}, filepath.Ext(path)) {
			return err
		}
		source, err := os.ReadFile(path)
		files++
		allocations += len(allocates.FindAll(source, -1))
		if found := banned.Find(source); found != nil {
			t.Errorf("%s uses %s: memory that is not the device's own", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 || allocations != 1 {
		t.Errorf("%d sources with %d allocations; want all sources and the one cudaMalloc of host/runtime.cc", files, allocations)
	}
}

func open(t *testing.T, kind native.DeviceKind, options native.ContextOptions) native.Context {
	t.Helper()
	library := native.Builtin()
	devices, err := library.Devices()
	if err != nil {
		t.Fatal(err)
	}
	index := slices.IndexFunc(devices, func(d native.DeviceProperties) bool { return d.Kind == kind })
	if index < 0 {
		t.Fatalf("the library has no %s", kind)
	}
	options.PoisonMemory = true
	context, err := library.NewContext(index, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := context.Close(); err != nil {
			t.Error(err)
		}
	})
	return context
}

func floats(random *rand.Rand, size float64, shape ...uint64) native.Tensor {
	count := uint64(1)
	for _, n := range shape {
		count *= n
	}
	data := make([]byte, 0, 4*count)
	for range count {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(size*(2*random.Float64()-1))))
	}
	return native.Tensor{DType: native.F32, Shape: shape, Data: data}
}

func integers(values ...int32) native.Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return native.Tensor{DType: native.I32, Shape: []uint64{uint64(len(values))}, Data: data}
}

func output(dtype native.DType, shape ...uint64) native.Tensor {
	count := uint64(4)
	for _, n := range shape {
		count *= n
	}
	return native.Tensor{DType: dtype, Shape: shape, Data: bytes.Repeat([]byte{0xaa}, int(count))}
}

// block is how many elements and bytes a block of a format has; halves are the places of its binary16 scales.
type block struct {
	elements, bytes uint64
	halves          []int
}

var formats = map[native.DType]block{
	native.F32: {1, 4, nil}, native.F16: {1, 2, []int{0}}, native.BF16: {1, 2, nil},
	native.Q4_0: {32, 18, []int{0}}, native.Q4_1: {32, 20, []int{0, 2}}, native.Q5_0: {32, 22, []int{0}}, native.Q5_1: {32, 24, []int{0, 2}},
	native.Q8_0: {32, 34, []int{0}}, native.Q4_K: {256, 144, []int{0, 2}}, native.Q5_K: {256, 176, []int{0, 2}}, native.Q6_K: {256, 210, []int{208}},
}

// matrix makes random stored rows whose values are finite.
func matrix(random *rand.Rand, dtype native.DType, columns, rows uint64) native.Tensor {
	if dtype == native.F32 {
		return floats(random, 1, columns, rows)
	}
	format := formats[dtype]
	data := make([]byte, rows*columns/format.elements*format.bytes)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	for at := 0; at < len(data); at += int(format.bytes) {
		if dtype == native.BF16 {
			data[at+1] = data[at+1]&0x80 | 0x3e // magnitudes of 1/8 to 1/2
		}
		for _, half := range format.halves {
			data[at+half+1] = data[at+half+1]&0x83 | 0x20 // 2^-7 to 2^-6
		}
	}
	return native.Tensor{DType: dtype, Shape: []uint64{columns, rows}, Data: data}
}

// sameOnBoth runs an operation on the CPU and the simulator and compares all output bytes.
func sameOnBoth(t *testing.T, cpu, sim native.Context, label string, op native.Op) []byte {
	t.Helper()
	other := op
	other.Outputs = nil
	for _, out := range op.Outputs {
		out.Data = bytes.Clone(out.Data)
		other.Outputs = append(other.Outputs, out)
	}
	if err := cpu.RunOp(op); err != nil {
		t.Fatalf("%s on the CPU: %v", label, err)
	}
	if err := sim.RunOp(other); err != nil {
		t.Fatalf("%s on the simulator: %v", label, err)
	}
	var all []byte
	for i, out := range op.Outputs {
		for at := 0; at < len(out.Data); at += 4 {
			if want, got := out.Data[at:at+4], other.Outputs[i].Data[at:at+4]; !bytes.Equal(want, got) {
				t.Fatalf("%s: output %d, element %d of %d: %x on the CPU, %x on the simulator", label, i, at/4, len(out.Data)/4, want, got)
			}
		}
		all = append(all, out.Data...)
	}
	return all
}

func TestLinearAndEmbeddingEqualTheCPU(t *testing.T) {
	cpu, sim := open(t, native.DeviceCPU, native.ContextOptions{}), open(t, native.DeviceSim, native.ContextOptions{OrderSeed: 3})
	random := rand.New(rand.NewPCG(20, 1))
	for dtype, format := range formats {
		// One row is staged, a few share segments, many share tiles; widths are whole segments, parts of one and many.
		for _, rows := range []uint64{1, 3, 16, 17, 50} {
			for _, columns := range []uint64{format.elements, 128 * max(1, format.elements/128), format.elements * (2 + random.Uint64N(1100/format.elements))} {
				outputs := 1 + random.Uint64N(70)
				label := fmt.Sprintf("format %d, %d x %d, %d rows", dtype, columns, outputs, rows)
				weight := matrix(random, dtype, columns, outputs)
				op := native.Op{Name: "linear", Inputs: []native.Tensor{weight, floats(random, 2, columns, rows)},
					Outputs: []native.Tensor{output(native.F32, outputs, rows)}}
				if rows%2 == 1 {
					op.Inputs = append(op.Inputs, floats(random, 1, outputs))
				}
				first := sameOnBoth(t, cpu, sim, label, op)
				if !slices.ContainsFunc(first, func(b byte) bool { return b != 0 && b != 0xaa }) {
					t.Fatalf("%s: nothing was computed", label)
				}
				ids := make([]int32, rows)
				for i := range ids {
					ids[i] = int32(random.Uint64N(outputs))
				}
				sameOnBoth(t, cpu, sim, "embedding, "+label, native.Op{Name: "embedding", Inputs: []native.Tensor{weight, integers(ids...)},
					Outputs: []native.Tensor{output(native.F32, columns, rows)}})
			}
		}
	}
}

func TestOtherOperationsEqualTheCPU(t *testing.T) {
	cpu, sim := open(t, native.DeviceCPU, native.ContextOptions{}), open(t, native.DeviceSim, native.ContextOptions{OrderSeed: 4})
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(21, seed))
		same := func(name string, parameters map[string]float64, out native.Tensor, inputs ...native.Tensor) {
			t.Helper()
			sameOnBoth(t, cpu, sim, fmt.Sprintf("%s, seed %d", name, seed), native.Op{Name: name, Inputs: inputs, Outputs: []native.Tensor{out}, Parameters: parameters})
		}
		width, rows := 1+random.Uint64N(1200), 1+random.Uint64N(4)
		x, weight := floats(random, 3, width, rows), floats(random, 1, width)
		epsilon := map[string]float64{"epsilon": 1e-5}
		same("rms_norm", epsilon, output(native.F32, width, rows), x, weight)
		same("layer_norm", epsilon, output(native.F32, width, rows), x, weight, floats(random, 1, width))
		same("softmax", nil, output(native.F32, width, rows), x)
		a, b := floats(random, 9, width), floats(random, 9, width)
		same("swiglu", nil, output(native.F32, width), a, b)
		same("gelu", nil, output(native.F32, width), a)
		same("add", nil, output(native.F32, width), a, b)
		same("temperature", map[string]float64{"temperature": 0.7}, output(native.F32, width), a)
		same("temperature", map[string]float64{"temperature": 0}, output(native.F32, width), a)

		kvHeads, headDim := 1+random.Uint64N(3), 2*(1+random.Uint64N(50))
		heads, length, half := kvHeads*(1+random.Uint64N(4)), rows+random.Uint64N(700), 1+random.Uint64N(headDim/2)
		positions := make([]int32, rows)
		for i := range positions {
			positions[i] = int32(length-rows) + int32(i)
		}
		q := floats(random, 1, headDim, heads, rows)
		for _, kind := range []native.PositionKind{native.PositionRopeNeox, native.PositionRopeInterleaved} {
			same("rope", map[string]float64{"kind": float64(kind)}, output(native.F32, headDim, heads, rows), q, integers(positions...),
				floats(random, 1, half, length), floats(random, 1, half, length))
		}
		same("attention", map[string]float64{"scale": 0.2}, output(native.F32, headDim, heads, rows), q, floats(random, 1, headDim, kvHeads, length),
			floats(random, 1, headDim, kvHeads, length), integers(positions...))
	}
}

func TestSamplingEqualsTheCPU(t *testing.T) {
	cpu, sim := open(t, native.DeviceCPU, native.ContextOptions{}), open(t, native.DeviceSim, native.ContextOptions{OrderSeed: 5})
	tokens := map[string]int{}
	for seed := range uint64(120) {
		random := rand.New(rand.NewPCG(22, seed))
		vocab := 1 + random.Uint64N(5000)
		logits := floats(random, 12, vocab)
		if seed%3 == 0 { // many ties
			for i := range vocab {
				value := math.Float32frombits(binary.LittleEndian.Uint32(logits.Data[4*i:]))
				binary.LittleEndian.PutUint32(logits.Data[4*i:], math.Float32bits(float32(math.Round(float64(value)/5))))
			}
		}
		history := make([]int32, random.IntN(30))
		for i := range history {
			history[i] = int32(random.Uint64N(vocab))
		}
		pick := func(off, on float64) float64 {
			if random.IntN(2) == 0 {
				return off
			}
			return on
		}
		parameters := map[string]float64{"temperature": pick(0, 0.1+1.8*random.Float64()), "top_k": pick(0, float64(1+random.IntN(60))), "top_p": pick(1, random.Float64()),
			"min_p": pick(0, 0.4*random.Float64()), "repetition_penalty": pick(1, 0.4+1.5*random.Float64()), "seed_low": float64(random.Uint32()),
			"seed_high": float64(random.Uint32()), "position": float64(random.IntN(4000))}
		all := sameOnBoth(t, cpu, sim, fmt.Sprintf("sample, seed %d, %v", seed, parameters), native.Op{Name: "sample", Inputs: []native.Tensor{logits, integers(history...)},
			Outputs: []native.Tensor{output(native.I32, 1), output(native.F32, vocab)}, Parameters: parameters})
		tokens[string(all[:4])]++
	}
	if len(tokens) < 60 {
		t.Errorf("only %d different tokens in 120 draws", len(tokens))
	}
}

// The order of blocks and threads must not show in any bit.
func TestOrderOfThreadsDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(23, 1))
	weight, x := matrix(random, native.Q4_K, 512, 40), floats(random, 2, 512, 5)
	q, kv := floats(random, 1, 32, 4, 3), floats(random, 1, 32, 2, 130)
	logits := floats(random, 9, 3000)
	cpu := open(t, native.DeviceCPU, native.ContextOptions{})
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			sim := open(t, native.DeviceSim, native.ContextOptions{OrderSeed: seed + 1})
			sameOnBoth(t, cpu, sim, "linear", native.Op{Name: "linear", Inputs: []native.Tensor{weight, x}, Outputs: []native.Tensor{output(native.F32, 40, 5)}})
			sameOnBoth(t, cpu, sim, "attention", native.Op{Name: "attention", Inputs: []native.Tensor{q, kv, kv, integers(127, 128, 129)},
				Outputs: []native.Tensor{output(native.F32, 32, 4, 3)}, Parameters: map[string]float64{"scale": 0.2}})
			sameOnBoth(t, cpu, sim, "sample", native.Op{Name: "sample", Inputs: []native.Tensor{logits, integers(1, 2, 2)},
				Outputs: []native.Tensor{output(native.I32, 1), output(native.F32, 3000)}, Parameters: map[string]float64{"temperature": 0.9, "top_k": 50, "top_p": 0.9,
					"min_p": 0.01, "repetition_penalty": 1.2, "seed_low": 5, "seed_high": 6, "position": 7}})
		})
	}
}
