package native_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"touchstone/native"
)

func floatsOf(t native.Tensor) []float32 {
	out := make([]float32, len(t.Data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
	}
	return out
}

func integers(values ...int32) native.Tensor {
	t := native.Tensor{DType: native.I32, Shape: []uint64{uint64(len(values))}}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, uint32(v))
	}
	return t
}

func output(dtype native.DType, shape ...uint64) native.Tensor {
	elements := uint64(1)
	for _, n := range shape {
		elements *= n
	}
	return native.Tensor{DType: dtype, Shape: shape, Data: make([]byte, 4*elements)}
}

// near fails at the first element that differs from want by more than tolerance.
func near(t *testing.T, got native.Tensor, want []float64, tolerance float64) {
	t.Helper()
	values := floatsOf(got)
	if len(values) != len(want) {
		t.Fatalf("%d elements, want %d", len(values), len(want))
	}
	for i := range want {
		if !(math.Abs(float64(values[i])-want[i]) <= tolerance) {
			t.Fatalf("element %d is %v, want %v", i, values[i], want[i])
		}
	}
}

// Operands reach the right place in the right order; how exact the kernels are is for the kernel suite to say.
func TestOperations(t *testing.T) {
	c := newContext(t, native.ContextOptions{})
	random := rand.New(rand.NewPCG(modelSeed, 7))
	values := func(shape ...uint64) native.Tensor { return tensorOf(random, "", 0, 1, shape...) }
	run := func(t *testing.T, op native.Op) {
		t.Helper()
		check(t, c.RunOp(op))
	}
	t.Run("embedding", func(t *testing.T) {
		table, out := values(6, 5), output(native.F32, 6, 2)
		run(t, native.Op{Name: "embedding", Inputs: []native.Tensor{table, integers(4, 1)}, Outputs: []native.Tensor{out}})
		x := floatsOf(table)
		wantSameBits(t, floatsOf(out), append(append([]float32(nil), x[24:30]...), x[6:12]...), "rows 4 and 1")
	})
	t.Run("linear", func(t *testing.T) {
		w, x, b, out := values(40, 7), values(40, 3), values(7), output(native.F32, 7, 3)
		run(t, native.Op{Name: "linear", Inputs: []native.Tensor{w, x, b}, Outputs: []native.Tensor{out}})
		ws, xs, bs := floatsOf(w), floatsOf(x), floatsOf(b)
		var want []float64
		for m := range 3 {
			for n := range 7 {
				sum := float64(bs[n])
				for k := range 40 {
					sum += float64(ws[n*40+k]) * float64(xs[m*40+k])
				}
				want = append(want, sum)
			}
		}
		near(t, out, want, 1e-5)
	})
	t.Run("rope", func(t *testing.T) {
		cos, sin := native.RopeTables(native.RopeFrequencies(10000, 4), 9, 1)
		tables := func(v []float32) native.Tensor {
			t := output(native.F32, 2, 9)
			for i, x := range v {
				binary.LittleEndian.PutUint32(t.Data[4*i:], math.Float32bits(x))
			}
			return t
		}
		x, out := values(6, 1, 1), output(native.F32, 6, 1, 1)
		run(t, native.Op{Name: "rope", Inputs: []native.Tensor{x, integers(8), tables(cos), tables(sin)}, Outputs: []native.Tensor{out},
			Parameters: map[string]float64{"kind": float64(native.PositionRopeInterleaved)}})
		v := floatsOf(x)
		want := make([]float64, 6)
		for i, angle := range []float64{8, 8 * math.Pow(10000, -0.5)} {
			a, b := float64(v[2*i]), float64(v[2*i+1])
			want[2*i] = a*math.Cos(angle) - b*math.Sin(angle)
			want[2*i+1] = a*math.Sin(angle) + b*math.Cos(angle)
		}
		want[4], want[5] = float64(v[4]), float64(v[5])
		near(t, out, want, 1e-6)
	})
	t.Run("attention", func(t *testing.T) {
		const length, dim = 40, 16
		q, k, v, out := values(dim, 2, 2), values(dim, 1, length), values(dim, 1, length), output(native.F32, dim, 2, 2)
		positions := []int32{37, 3}
		run(t, native.Op{Name: "attention", Inputs: []native.Tensor{q, k, v, integers(positions...)}, Outputs: []native.Tensor{out},
			Parameters: map[string]float64{"scale": 0.5}})
		qs, ks, vs := floatsOf(q), floatsOf(k), floatsOf(v)
		var want []float64
		for head := range 4 {
			weighted, total := make([]float64, dim), 0.0
			for p := range positions[head/2] + 1 {
				score := 0.0
				for d := range dim {
					score += float64(qs[head*dim+d]) * float64(ks[int(p)*dim+d])
				}
				e := math.Exp(0.5 * score)
				total += e
				for d := range dim {
					weighted[d] += e * float64(vs[int(p)*dim+d])
				}
			}
			for d := range dim {
				want = append(want, weighted[d]/total)
			}
		}
		near(t, out, want, 2e-3) // keys and values are binary16
	})
	t.Run("philox", func(t *testing.T) {
		out := output(native.I32, 4)
		run(t, native.Op{Name: "philox", Inputs: []native.Tensor{integers(0, 0, 0, 0), integers(0, 0)}, Outputs: []native.Tensor{out}})
		// Known answer of Random123 for a zero counter and key.
		for i, want := range []uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8} {
			if got := binary.LittleEndian.Uint32(out.Data[4*i:]); got != want {
				t.Errorf("word %d is %#x, want %#x", i, got, want)
			}
		}
	})
	t.Run("sample", func(t *testing.T) {
		logits, token, probabilities := values(20), output(native.I32, 1), output(native.F32, 20)
		run(t, native.Op{Name: "sample", Inputs: []native.Tensor{logits, integers()}, Outputs: []native.Tensor{token, probabilities},
			Parameters: map[string]float64{"temperature": 1, "top_k": 3, "top_p": 1, "min_p": 0, "repetition_penalty": 1, "seed_low": 1,
				"seed_high": 2, "position": 9}})
		kept, sum := 0, 0.0
		for _, p := range floatsOf(probabilities) {
			sum += float64(p)
			if p > 0 {
				kept++
			}
		}
		chosen := binary.LittleEndian.Uint32(token.Data)
		if kept != 3 || math.Abs(sum-1) > 1e-6 || floatsOf(probabilities)[chosen] == 0 {
			t.Errorf("token %d of %d kept with the sum %v", chosen, kept, sum)
		}
	})
}

func TestOperationsRefuseWhatDoesNotFit(t *testing.T) {
	c := newContext(t, native.ContextOptions{})
	x, out := output(native.F32, 4), output(native.F32, 4)
	cases := map[string]native.Op{
		"an input too few":      {Name: "add", Inputs: []native.Tensor{x}, Outputs: []native.Tensor{out}},
		"no output":             {Name: "add", Inputs: []native.Tensor{x, x}},
		"another shape":         {Name: "add", Inputs: []native.Tensor{x, output(native.F32, 5)}, Outputs: []native.Tensor{out}},
		"another dtype":         {Name: "add", Inputs: []native.Tensor{x, output(native.I32, 4)}, Outputs: []native.Tensor{out}},
		"data too short":        {Name: "gelu", Inputs: []native.Tensor{{Shape: []uint64{4}, Data: x.Data[4:]}}, Outputs: []native.Tensor{out}},
		"an empty input":        {Name: "gelu", Inputs: []native.Tensor{{Shape: []uint64{0}}}, Outputs: []native.Tensor{{Shape: []uint64{0}}}},
		"a missing parameter":   {Name: "temperature", Inputs: []native.Tensor{x}, Outputs: []native.Tensor{out}},
		"an unknown parameter":  {Name: "gelu", Inputs: []native.Tensor{x}, Outputs: []native.Tensor{out}, Parameters: map[string]float64{"n": 1}},
		"a parameter too large": {Name: "temperature", Inputs: []native.Tensor{x}, Outputs: []native.Tensor{out}, Parameters: map[string]float64{"temperature": 3}},
		"an id out of range":    {Name: "embedding", Inputs: []native.Tensor{output(native.F32, 4, 2), integers(2)}, Outputs: []native.Tensor{output(native.F32, 4, 1)}},
		"five dimensions":       {Name: "gelu", Inputs: []native.Tensor{{Shape: []uint64{4, 1, 1, 1, 1}, Data: x.Data}}, Outputs: []native.Tensor{out}},
	}
	for name, op := range cases {
		t.Run(name, func(t *testing.T) { wantStatus(t, c.RunOp(op), native.StatusInvalidArgument) })
	}
	if stats := ledger(t, c); stats.Total() != 0 {
		t.Errorf("%+v is left", stats)
	}
}
