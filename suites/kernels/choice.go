package kernels

import (
	"math"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/sampling"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// craftedSampling are logits made so that each rule decides something, with what must be kept, worked out by hand.
var craftedSampling = []struct {
	name    string
	logits  []float32
	history []int32
	s       sampling.Settings
	kept    []int // ids with a probability above 0
}{
	{"greedy", []float32{1, 3, 2}, nil, sampling.Settings{Temperature: 0}, []int{1}},
	{"greedy with ties: the lowest id wins", []float32{1, 3, 3, 3, 2}, nil, sampling.Settings{Temperature: 0}, []int{1}},
	{"greedy, all equal", []float32{2, 2, 2}, nil, sampling.Settings{Temperature: 0}, []int{0}},
	{"greedy among negatives", []float32{-5, -1, -1, -9}, nil, sampling.Settings{Temperature: 0}, []int{1}},
	{"greedy over zeros of both signs", []float32{float32(math.Copysign(0, -1)), 0}, nil, sampling.Settings{Temperature: 0}, []int{0}},
	{"greedy after the penalty", []float32{3, 2.9, 1}, []int32{0}, sampling.Settings{Temperature: 0, Penalty: 1.5}, []int{1}},
	{"nothing filtered", []float32{0, 1, 2, 3}, nil, sampling.Settings{Temperature: 1}, []int{0, 1, 2, 3}},
	{"one token", []float32{7}, nil, sampling.Settings{Temperature: 1}, []int{0}},
	{"top-k 1", []float32{0, 1, 3, 2}, nil, sampling.Settings{Temperature: 1, TopK: 1}, []int{2}},
	{"top-k 2", []float32{0, 1, 3, 2}, nil, sampling.Settings{Temperature: 1, TopK: 2}, []int{2, 3}},
	{"top-k with a tie at the edge: the lower id stays", []float32{1, 2, 2, 2}, nil, sampling.Settings{Temperature: 1, TopK: 2}, []int{1, 2}},
	{"top-k of all", []float32{1, 2, 3}, nil, sampling.Settings{Temperature: 1, TopK: 3}, []int{0, 1, 2}},
	{"top-k beyond the vocabulary", []float32{1, 2, 3}, nil, sampling.Settings{Temperature: 1, TopK: 9}, []int{0, 1, 2}},
	{"top-p 0 keeps the likeliest", []float32{1, 3, 2}, nil, sampling.Settings{Temperature: 1, TopP: 0}, []int{1}},
	{"top-p reached exactly", []float32{2, 2, 2, 2}, nil, sampling.Settings{Temperature: 1, TopP: 0.5}, []int{0, 1}},
	{"top-p just above a sum", []float32{2, 2, 2, 2}, nil, sampling.Settings{Temperature: 1, TopP: 0.51}, []int{0, 1, 2}},
	{"top-p takes the token that crosses it", []float32{3, 2, 1, 0}, nil, sampling.Settings{Temperature: 1, TopP: 0.7}, []int{0, 1}}, // 0.644, 0.881
	{"top-p after top-k renormalises", []float32{2, 2, 2, 2}, nil, sampling.Settings{Temperature: 1, TopK: 3, TopP: 0.6}, []int{0, 1}},
	{"min-p", []float32{0, -1, -2, -3}, nil, sampling.Settings{Temperature: 1, MinP: 0.2}, []int{0, 1}}, // 1, 0.37, 0.14, 0.05
	{"min-p 1 keeps the largest and its equals", []float32{1, 2, 2}, nil, sampling.Settings{Temperature: 1, MinP: 1}, []int{1, 2}},
	{"min-p sees the temperature", []float32{0, -1, -2, -3}, nil, sampling.Settings{Temperature: 2, MinP: 0.2}, []int{0, 1, 2, 3}}, // 0.22 stays
	{"penalty divides a positive logit", []float32{2, 2, 2}, []int32{1}, sampling.Settings{Temperature: 1, TopK: 2, Penalty: 2}, []int{0, 2}},
	{"penalty multiplies a negative logit", []float32{-2, -2, -2}, []int32{0}, sampling.Settings{Temperature: 1, TopK: 2, Penalty: 2}, []int{1, 2}},
	{"penalty counts a token once", []float32{4, 2, 0.5}, []int32{0, 0, 0}, sampling.Settings{Temperature: 1, TopK: 1, Penalty: 1.5}, []int{0}},
	{"penalty below 1 rewards", []float32{2, 2, 2}, []int32{2}, sampling.Settings{Temperature: 1, TopK: 1, Penalty: 0.5}, []int{2}},
	{"all filters", []float32{5, 4.5, 4, 1, -3}, []int32{0}, sampling.Settings{Temperature: 0.7, TopK: 4, TopP: 0.99, MinP: 0.1, Penalty: 1.3}, []int{0, 1, 2}}, // weights 0.39, 1, 0.49, 0.007
}

// Sampling.
func registerSampling(subject func() *target.Target) {
	Describe("sampling", requirement.Claim("kernel.sampling"), func() {
		for _, crafted := range craftedSampling {
			It("keeps what it must: "+crafted.name, SpecTimeout(specTimeout), func(SpecContext) {
				onEachBackend(subject, func(context native.Context, backend library.Backend) {
					s := withDefaults(crafted.s, crafted.name)
					got := runSample(context, s, crafted.logits, crafted.history)
					Expect(keptIDs(got.probabilities)).To(Equal(crafted.kept), "kept ids on %s; probabilities %v", backend.Name, got.probabilities)
					fraction := expectReference(context, backend, s, crafted.logits, crafted.history)
					evidence.KernelError("sample", "f32", backend.Name, len(crafted.logits), fraction, crafted.name)
				})
			})
		}

		It("equals the reference on random logits under random settings", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				cases := 200
				if backend.Slow {
					cases = 20
				}
				worst := 0.0
				for i := range cases {
					random := newRandom(uint64(i))
					logits := normals(random, 2+random.IntN(300))
					for j := range logits {
						logits[j] *= 4
					}
					history := make([]int32, random.IntN(20))
					for j := range history {
						history[j] = int32(random.IntN(len(logits)))
					}
					s := sampling.Settings{
						Temperature: 0.1 + 1.9*random.Float64(), TopK: random.IntN(len(logits)), TopP: random.Float64(),
						MinP: random.Float64() * 0.1, Penalty: 0.5 + 1.5*random.Float64(), Seed: random.Uint64() >> 11, Position: i,
					}
					worst = max(worst, expectReference(context, backend, s, logits, history))
				}
				evidence.KernelError("sample", "f32", backend.Name, cases, worst, "")
			})
		})

		It("refuses NaN and infinite logits", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
					for _, temperature := range []float64{0, 1} {
						op, _ := sampleOp(sampling.Settings{Temperature: temperature, TopP: 1, Penalty: 1}, []float32{1, 2, bad, 4}, nil)
						Expect(context.RunOp(op)).To(matchers.HaveStatus(native.StatusInferenceFailed), "%v at temperature %v on %s", bad, temperature, backend.Name)
					}
				}
				evidence.Observe("logits that are no numbers refused on "+backend.Name, 6, "")
			})
		})

		// The false-alarm rate of the whole spec is stated with the observation; seeds are fixed, so that a pass stays a pass.
		It("draws from the reference distribution", SpecTimeout(drawsTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				draws := 1500
				if backend.Slow {
					draws = 160
				}
				for i, s := range []sampling.Settings{
					{Temperature: 1, TopP: 1, Penalty: 1}, {Temperature: 0.6, TopP: 1, Penalty: 1, TopK: 6},
					{Temperature: 1.5, TopP: 0.9, Penalty: 1}, {Temperature: 1, TopP: 1, MinP: 0.05, Penalty: 1},
				} {
					logits := normals(newRandom(uint64(100+i)), 12)
					want := sampling.Sample(s, logits, nil)
					counts := make([]int, len(logits))
					for draw := range draws {
						s.Seed, s.Position = uint64(1000*i+draw/40), draw%40
						counts[runSample(context, s, logits, nil).token]++
					}
					statistic, freedom := chiSquare(counts, want.Probabilities, draws)
					limit := chiSquareLimit(freedom)
					evidence.Observe("chi-square on "+backend.Name, map[string]any{
						"statistic": statistic, "degrees of freedom": freedom, "limit": limit, "draws": draws, "false-alarm rate": 1e-4,
					}, "")
					Expect(statistic).To(BeNumerically("<", limit), "setting %d on %s: counts %v, probabilities %v", i, backend.Name, counts, want.Probabilities)
				}
			})
		})
	})
}

// expectReference compares a draw with the reference and returns the worst error of a probability as a fraction of its bound.
func expectReference(context native.Context, backend library.Backend, s sampling.Settings, logits []float32, history []int32) float64 {
	GinkgoHelper()
	want := sampling.Sample(s, logits, history)
	got := runSample(context, s, logits, history)
	result := matchers.Bounded{Case: s.String(), Got: got.probabilities, Want: want.Probabilities, Bound: want.Bounds}
	Expect(result).To(matchers.BeWithinBound(), "probabilities on %s", backend.Name)
	Expect(want.Tokens).To(ContainElement(got.token), "the drawn token on %s, %s", backend.Name, s)
	fraction, _ := result.Worst()
	return fraction
}

func keptIDs(probabilities []float32) []int {
	var ids []int
	for id, p := range probabilities {
		if p > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// chiSquare is Pearson's statistic over the tokens that can be drawn; a token that cannot makes it infinite. Tokens expected
// fewer than 5 times are pooled.
func chiSquare(counts []int, probabilities []float64, draws int) (statistic float64, freedom int) {
	var pooledCount, pooledExpected float64
	classes := 0
	add := func(count, expected float64) {
		statistic += (count - expected) * (count - expected) / expected
		classes++
	}
	for i, p := range probabilities {
		expected := p * float64(draws)
		switch {
		case p == 0 && counts[i] > 0:
			return math.Inf(1), 1
		case p == 0:
		case expected < 5:
			pooledCount, pooledExpected = pooledCount+float64(counts[i]), pooledExpected+expected
		default:
			add(float64(counts[i]), expected)
		}
	}
	if pooledExpected > 0 {
		add(pooledCount, pooledExpected)
	}
	return statistic, classes - 1
}

// chiSquareLimit is exceeded with probability 1e-4 by chance (Wilson and Hilferty's cube-root approximation).
func chiSquareLimit(freedom int) float64 {
	const normalQuantile = 3.719016
	k := float64(freedom)
	return k * math.Pow(1-2/(9*k)+normalQuantile*math.Sqrt(2/(9*k)), 3)
}
