package kernels

import (
	"fmt"
	"math/rand/v2"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/expectation"
	"touchstone/suites/internal/shadow"
	"touchstone/suites/library"
	"touchstone/suites/target"
)

// The specs above ask single operations. These ask `step`, which is what a worker calls: the library under test and the reference
// library go through the same random requests of the run's seed, side by side.

const (
	// stepDraws is how many tokens a spec samples on a backend, seedDraws where only seeds differ; slow ones fewer by slowdown.
	stepDraws, seedDraws = 480, 160
	slowdown             = 10
	mostItems            = 9
)

// edgeSeeds are where a seed that is kept in a smaller or signed number, or as a float, becomes another one.
var edgeSeeds = []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<53 + 1, 1<<63 - 1, 1 << 63, ^uint64(0)}

func registerSteps(subject func() *target.Target) {
	Describe("temperature in a step", requirement.Claim("kernel.temperature"), func() {
		It("draws every token at the temperature asked for", SpecTimeout(specTimeout), func(SpecContext) {
			stepsOnEachBackend(subject, "step-temperature", stepDraws, func(r *rand.Rand, s *native.Sampling) {
				*s = native.Sampling{Temperature: s.Temperature, TopP: 1, RepetitionPenalty: 1, Seed: s.Seed, TopLogprobs: s.TopLogprobs}
			})
		})
	})
	Describe("sampling in a step", requirement.Claim("kernel.sampling"), func() {
		It("draws as asked under random settings", SpecTimeout(specTimeout), func(SpecContext) {
			stepsOnEachBackend(subject, "step-sampling", stepDraws, hot)
		})
		It("draws as asked from a vocabulary of 131,072 tokens", SpecTimeout(specTimeout), func(SpecContext) {
			expectLargeVocabulary(subject)
		})
	})
	Describe("random numbers in a step", requirement.Claim("kernel.random"), func() {
		It("keys them by the seed of their own session in every batch", SpecTimeout(specTimeout), func(SpecContext) {
			stepsOnEachBackend(subject, "step-seeds", seedDraws, func(r *rand.Rand, s *native.Sampling) { *s = *seeded(r) })
		})
		It("keys them by all 64 bits of the seed and by the position, far into a context", SpecTimeout(specTimeout), func(SpecContext) {
			expectFarDraws(subject)
		})
		It("keys them by positions beyond 2^16", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				seed, index := drawnCase("sample-far")
				r := expectation.Random(seed, index)
				positions := []int{1<<16 - 1, 1 << 16, 1<<16 + 1, 1 << 17, 1<<20 + 3, 1<<24 + 1, 1<<31 - 1, 1<<32 - 1}
				for range 24 {
					positions = append(positions, 1<<16+r.IntN(1<<31))
				}
				logits := normals(r, 997)
				for _, position := range positions {
					s := settingsOf(expectation.Sampling(r, len(logits)), position)
					expectReference(context, backend, s, logits, nil)
				}
				evidence.Observe(fmt.Sprintf("draws beyond position 65536 on %s, run seed %d", backend.Name, seed), len(positions), "")
			})
		})
	})
}

// drawnCase is the seed and index that GATE_CASE names for a kind, or the run's own seed.
func drawnCase(kind string) (seed uint64, index int) {
	GinkgoHelper()
	if name := caseFromEnvironment(); name != "" {
		seed, index, ours := expectation.ParseName(kind, name)
		if !ours {
			Skip("GATE_CASE names a case of another spec")
		}
		return seed, index
	}
	seed, err := expectation.RunSeed()
	Expect(err).NotTo(HaveOccurred())
	return seed, 0
}

// hot makes more of the random settings sample, and at temperatures where a wrong one shows.
func hot(r *rand.Rand, s *native.Sampling) {
	if s.Temperature == 0 && r.IntN(4) > 0 {
		s.Temperature = 1
	}
}

// seeded samples from everything at temperature 1, with any seed; one of the edges as often as not.
func seeded(r *rand.Rand) *native.Sampling {
	s := &native.Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: r.Uint64()}
	if r.IntN(2) == 0 {
		s.Seed = edgeSeeds[r.IntN(len(edgeSeeds))]
	}
	return s
}

// stepsOnEachBackend lets sessions of one model sample tokens in batches, each with settings that change alters after they were
// drawn, and compares every step with the reference's.
func stepsOnEachBackend(subject func() *target.Target, kind string, count int, change func(*rand.Rand, *native.Sampling)) {
	GinkgoHelper()
	seed, index := drawnCase(kind)
	shape := shadow.Small()
	onEachBackend(subject, func(context native.Context, backend library.Backend) {
		draws := count
		if backend.Slow {
			draws /= slowdown
		}
		r := expectation.Random(seed, index)
		pair := loadPair(context, shape, seed)
		sessions := openSessions(pair, r, shape, mostItems)
		sampled := 0
		for sampled < draws {
			var asks []shadow.Ask
			for _, i := range r.Perm(len(sessions))[:1+r.IntN(len(sessions))] {
				s := expectation.Sampling(r, shape.Vocab)
				change(r, s)
				asks = append(asks, shadow.Ask{
					Session: sessions[i], Tokens: nextTokens(r, sessions[i], shape), Want: native.LogitsWanted(r.IntN(2)), Sampling: s,
				})
			}
			shadow.Agree(pair.Step(asks), backend.Name, expectation.Name(kind, seed, index))
			sampled += len(asks)
		}
		Expect(pair.Close()).To(Succeed())
		evidence.Observe(fmt.Sprintf("tokens sampled as the reference does on %s, run seed %d", backend.Name, seed), sampled, "")
	})
}

func loadPair(context native.Context, shape shadow.Shape, seed uint64) *shadow.Pair {
	GinkgoHelper()
	pair, err := shadow.Load(context, shape.Describe(seed))
	Expect(err).NotTo(HaveOccurred())
	return pair
}

// openSessions starts sessions with prompts of random lengths.
func openSessions(pair *shadow.Pair, r *rand.Rand, shape shadow.Shape, count int) []*shadow.Session {
	GinkgoHelper()
	var out []*shadow.Session
	for range count {
		session, err := pair.Open()
		Expect(err).NotTo(HaveOccurred())
		out = append(out, session)
		Expect(pair.Step([]shadow.Ask{{Session: session, Tokens: randomTokens(r, 1+r.IntN(40), shape.Vocab)}})).To(Succeed())
	}
	return out
}

// nextTokens are what a session evaluates next: the token it chose, as a worker does, or now and then others.
func nextTokens(r *rand.Rand, session *shadow.Session, shape shadow.Shape) []int32 {
	if session.Next < 0 || r.IntN(6) == 0 {
		return randomTokens(r, 1+r.IntN(3), shape.Vocab)
	}
	return []int32{session.Next}
}

func randomTokens(r *rand.Rand, n, vocab int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(r.IntN(vocab))
	}
	return out
}

// expectFarDraws samples along a long context, at equal temperature and with seeds from all of 64 bits.
func expectFarDraws(subject func() *target.Target) {
	GinkgoHelper()
	const kind = "step-far"
	seed, index := drawnCase(kind)
	shape := shadow.Shape{Vocab: 256, Context: 16800, Blocks: 1, Width: 16, Hidden: 16, Heads: 1, KVHeads: 1, HeadDim: 2, RopeDims: 2,
		Epsilon: 1e-5, MaxRows: 512, KVBlocks: 530}
	onMain(subject, func(context native.Context, backend library.Backend) {
		r := expectation.Random(seed, index)
		stops := []int{1, 250, 510, 1022, 4090, 16380}
		if backend.Slow {
			stops = stops[:3]
		}
		pair := loadPair(context, shape, seed)
		session, err := pair.Open()
		Expect(err).NotTo(HaveOccurred())
		sampled := 0
		for _, stop := range stops {
			for len(session.History) < stop {
				chunk := min(stop-len(session.History), 1+r.IntN(512))
				Expect(pair.Step([]shadow.Ask{{Session: session, Tokens: randomTokens(r, chunk, shape.Vocab)}})).To(Succeed())
			}
			for range 24 {
				ask := shadow.Ask{Session: session, Tokens: nextTokens(r, session, shape), Sampling: seeded(r)}
				shadow.Agree(pair.Step([]shadow.Ask{ask}), backend.Name, expectation.Name(kind, seed, index))
				sampled++
			}
		}
		Expect(pair.Close()).To(Succeed())
		name := fmt.Sprintf("tokens sampled at positions up to %d on %s, run seed %d", len(session.History), backend.Name, seed)
		evidence.Observe(name, sampled, "")
	})
}

// expectLargeVocabulary samples from as many tokens as large models have.
func expectLargeVocabulary(subject func() *target.Target) {
	GinkgoHelper()
	const kind = "step-vocabulary"
	seed, index := drawnCase(kind)
	shape := shadow.Small()
	shape.Vocab, shape.Blocks, shape.Tied, shape.KVBlocks = 1<<17, 1, true, 20
	onMain(subject, func(context native.Context, backend library.Backend) {
		if backend.Slow {
			shape.Vocab = 1<<12 + 7
		}
		r := expectation.Random(seed, index)
		pair := loadPair(context, shape, seed)
		sessions := openSessions(pair, r, shape, 3)
		const steps = 6
		for range steps {
			var asks []shadow.Ask
			for _, session := range sessions {
				s := expectation.Sampling(r, shape.Vocab)
				hot(r, s)
				asks = append(asks, shadow.Ask{Session: session, Tokens: nextTokens(r, session, shape), Want: native.LogitsLast, Sampling: s})
			}
			shadow.Agree(pair.Step(asks), backend.Name, expectation.Name(kind, seed, index))
		}
		Expect(pair.Close()).To(Succeed())
		evidence.Observe(fmt.Sprintf("tokens sampled from %d on %s, run seed %d", shape.Vocab, backend.Name, seed), steps*len(sessions), "")
	})
}

// onMain runs a body on a context of the backend that whole models run on.
func onMain(subject func() *target.Target, body func(context native.Context, backend library.Backend)) {
	GinkgoHelper()
	subject().Require(target.Native)
	backend, err := subject().Main()
	Expect(err).NotTo(HaveOccurred())
	body(openContext(backend), backend)
}
