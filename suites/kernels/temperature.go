package kernels

import (
	"fmt"
	"math"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

var temperatures = []float64{0, 0.01, 0.1, 0.5, 0.7, 1, 1.3, 2}

func temperatureOp(logits []float32, temperature float64) native.Op {
	return native.Op{
		Name: "temperature", Inputs: []native.Tensor{floatTensor(logits, len(logits))},
		Outputs: []native.Tensor{floatOutput(len(logits))}, Parameters: map[string]float64{"temperature": temperature},
	}
}

// temperatureCheck: one division, rounded once, so the bound is 0; temperature 0 leaves the logits as they are.
func temperatureCheck(width int, temperature float64, seed uint64) check {
	logits := normals(newRandom(seed), width)
	c := check{
		name: caseName("temperature", "f32", "width", width, "temperature", temperature, "seed", seed), format: "f32",
		op: temperatureOp(logits, temperature), bound: make([]float64, width),
	}
	for _, logit := range logits {
		want := logit
		if temperature != 0 {
			want = float32(float64(logit) / float64(float32(temperature)))
		}
		c.want = append(c.want, float64(want))
	}
	return c
}

// Temperature scaling.
func registerTemperature(subject func() *target.Target) {
	Describe("temperature scaling", requirement.Claim("kernel.temperature"), func() {
		It("equals the reference exactly from 0 to 2", SpecTimeout(specTimeout), func(SpecContext) {
			skipOtherCases("temperature")
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				worst := newTally("temperature", backend.Name)
				for i, width := range sizes(backend.Slow) {
					for _, temperature := range temperatures {
						if c := temperatureCheck(width, temperature, uint64(i+1)); wanted(c.name) {
							c.run(context, worst)
						}
					}
				}
				worst.record()
			})
		})

		It("keeps the order and makes entropy grow with the temperature", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				logits := normals(newRandom(9), 50)
				var entropies []float64
				for _, temperature := range temperatures[1:] {
					scaled := runOp(context, temperatureOp(logits, temperature), len(logits))
					for i := range logits {
						for j := range logits {
							if logits[i] > logits[j] && !(scaled[i] > scaled[j]) {
								Fail(fmt.Sprintf("temperature %v on %s: %v > %v became %v and %v", temperature, backend.Name, logits[i], logits[j], scaled[i], scaled[j]))
							}
						}
					}
					entropies = append(entropies, entropy(scaled))
				}
				for i := 1; i < len(entropies); i++ {
					Expect(entropies[i]).To(BeNumerically(">", entropies[i-1]), "entropy at %v and %v on %s", temperatures[i+1], temperatures[i], backend.Name)
				}
				evidence.Observe("entropy by temperature on "+backend.Name, entropies, "nat")
			})
		})

		It("refuses a temperature below 0 or that is no number", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				for _, bad := range []float64{-0.5, math.NaN(), math.Inf(1)} {
					op := temperatureOp([]float32{1, 2, 3}, bad)
					op.Outputs[0].Data = make([]byte, 12)
					Expect(context.RunOp(op)).To(matchers.HaveStatus(native.StatusInvalidArgument, "temperature"), "%v on %s", bad, backend.Name)
				}
				evidence.Observe("bad temperatures refused on "+backend.Name, 3, "")
			})
		})
	})
}

func entropy(logits []float32) float64 {
	scores := make([]float64, len(logits))
	for i, logit := range logits {
		scores[i] = float64(logit)
	}
	p, _ := softmax(scores, make([]float64, len(scores)))
	sum := 0.0
	for _, v := range p {
		if v > 0 {
			sum -= v * math.Log(v)
		}
	}
	return sum
}
