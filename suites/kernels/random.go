package kernels

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/sampling"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// philoxVectors are the known answers that the authors of Philox publish with Random123 (kat_vectors, philox4x32 10).
var philoxVectors = []struct {
	counter [4]uint32
	key     [2]uint32
	want    [4]uint32
}{
	{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
	{
		[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
		[2]uint32{0xffffffff, 0xffffffff},
		[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
	},
	{
		[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
		[2]uint32{0xa4093822, 0x299f31d0},
		[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
	},
}

func runPhilox(context native.Context, counter [4]uint32, key [2]uint32) [4]uint32 {
	GinkgoHelper()
	words := func(values []uint32) native.Tensor {
		ints := make([]int32, len(values))
		for i, v := range values {
			ints[i] = int32(v)
		}
		return intTensor(ints)
	}
	output := native.Tensor{DType: native.I32, Shape: shape(4), Data: make([]byte, 16)}
	Expect(context.RunOp(native.Op{
		Name: "philox", Inputs: []native.Tensor{words(counter[:]), words(key[:])}, Outputs: []native.Tensor{output},
	})).To(Succeed())
	var out [4]uint32
	for i, v := range intsOf(output.Data) {
		out[i] = uint32(v)
	}
	return out
}

// Seeded RNG.
func registerRandom(subject func() *target.Target) {
	Describe("seeded random numbers", requirement.Claim("kernel.random"), func() {
		It("equals the published vectors of Philox4x32-10", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				for round := range 2 { // a generator with a state of its own differs the second time
					for i, vector := range philoxVectors {
						Expect(sampling.Philox(vector.counter, vector.key)).To(Equal(vector.want), "the reference itself, vector %d", i)
						Expect(hex(runPhilox(context, vector.counter, vector.key))).To(Equal(hex(vector.want)), "vector %d, round %d on %s", i, round, backend.Name)
					}
				}
				random := newRandom(1)
				const cases = 64
				for range cases {
					counter := [4]uint32{random.Uint32(), random.Uint32(), random.Uint32(), random.Uint32()}
					key := [2]uint32{random.Uint32(), random.Uint32()}
					Expect(hex(runPhilox(context, counter, key))).To(Equal(hex(sampling.Philox(counter, key))), "counter %v key %v on %s", hex(counter), key, backend.Name)
				}
				evidence.KernelError("philox", "i32", backend.Name, len(philoxVectors)+cases, 0, "")
			})
		})

		It("draws by seed and position alone", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				logits := make([]float32, 256) // all equal: the draw is the random number itself
				seen := map[int32]int{}
				for position := range 40 {
					for _, seed := range []uint64{0, 1, 1 << 32, 1<<63 + 5} {
						got := runSample(context, sampling.Settings{Temperature: 1, TopP: 1, Penalty: 1, Seed: seed, Position: position}, logits, nil)
						word := sampling.Philox([4]uint32{uint32(position)}, [2]uint32{uint32(seed), uint32(seed >> 32)})[0]
						Expect(got.token).To(Equal(int32(word>>24)), "seed %d position %d on %s", seed, position, backend.Name)
						seen[got.token]++
					}
				}
				Expect(len(seen)).To(BeNumerically(">", 80), "160 draws from 256 equal tokens")
				evidence.Observe("different tokens in 160 draws on "+backend.Name, len(seen), "")
			})
		})

		It("does not depend on the batch or on other sessions", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			prompt := tiny.Tokens(5, 3)
			draw := func(seed uint64, crowd int) []int32 {
				var sessions []native.Session
				for range crowd + 1 {
					sessions = append(sessions, tiny.Session(model))
				}
				var tokens []int32
				next := prompt
				for range 12 {
					var items []native.StepItem
					for i, session := range sessions {
						items = append(items, native.StepItem{Session: session, Tokens: next, Sampling: tiny.Hot(seed + uint64(i))})
					}
					Expect(model.Step(items)).To(Succeed())
					for _, item := range items {
						Expect(item.Err).NotTo(HaveOccurred())
					}
					tokens = append(tokens, items[0].Token)
					next = []int32{items[0].Token}
				}
				for _, session := range sessions {
					Expect(session.Close()).To(Succeed())
				}
				return tokens
			}
			alone := draw(7, 0)
			Expect(draw(7, 0)).To(matchers.MatchTokens(alone), "the same seed again")
			Expect(draw(7, 1)).To(matchers.MatchTokens(alone), "with another session in the batch")
			Expect(draw(7, 5)).To(matchers.MatchTokens(alone), "with five other sessions in the batch")
			Expect(draw(8, 0)).NotTo(matchers.MatchTokens(alone), "another seed")
			evidence.Observe("tokens drawn with seed 7", alone, "")
		})
	})
}

func hex(words [4]uint32) string { return fmt.Sprintf("%08x", words) }
