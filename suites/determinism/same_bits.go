package determinism

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/native/gguf"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/expectation"
	"touchstone/suites/goldens"
	"touchstone/suites/internal/modelfile"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

const (
	sequenceLength = 110 // tokens; more than three KV blocks
	scalarLength   = 50  // of them in scalar code
	slowLength     = 12  // of them on the simulator
	draws          = 12  // settings with every factor drawn
)

// factor is one thing that varies alone: its values and what each does to a setting.
type factor struct {
	name   string
	values []string
	set    func(s *setting, value int)
}

// factorsOf lists the factors of a subject's backends. The device stands apart, since only the processor has instruction sets.
func factorsOf(backends []library.Backend) (factors []factor, device factor) {
	number := func(name string, values []int, set func(s *setting, n int)) factor {
		f := factor{name: name, set: func(s *setting, value int) { set(s, values[value]) }}
		for _, n := range values {
			f.values = append(f.values, fmt.Sprint(n))
		}
		return f
	}
	var sets, devices []library.Backend
	for _, backend := range backends {
		if backend.Device.Kind != native.DeviceCPU {
			devices = append(devices, backend)
		} else {
			sets = append(sets, backend)
		}
	}
	among := func(name string, backends []library.Backend) factor {
		f := factor{name: name, set: func(s *setting, value int) { s.backend = backends[value] }}
		for _, backend := range backends {
			f.values = append(f.values, backend.Name)
		}
		return f
	}
	chunking := number("chunk of the prompt", []int{sequenceLength, 1, 7, 32, 100}, func(s *setting, n int) { s.chunk = n })
	chunking.values[0] = "whole"
	factors = []factor{
		number("threads", []int{1, 2, 3}, func(s *setting, n int) { s.threads = n }),
		number("other sessions in the batch", []int{0, 1, 3}, func(s *setting, n int) { s.company = n }),
		chunking,
		{"phase", []string{"prefill", "prefill and decode"}, func(s *setting, value int) { s.decode = value == 1 }},
		{"cache", caches, func(s *setting, value int) { s.cache = caches[value] }},
	}
	if len(sets) > 0 {
		devices = slices.Insert(devices, 0, sets[len(sets)-1]) // the fastest
		factors = append(factors, among("instruction set", sets))
	}
	return factors, among("device", devices)
}

// lengthOn is how many tokens of the sequence a backend evaluates in a fraction of a second.
func lengthOn(backend library.Backend) int {
	switch {
	case backend.Slow:
		return slowLength
	case slow(backend):
		return scalarLength
	}
	return sequenceLength
}

// registerFactors adds the table of same bits: every factor alone, then all of them together, and what must differ.
func registerFactors(subject func() *target.Target) {
	Describe("the factors", requirement.Claim("determinism.factors"), func() {
		It("gives the bundled model's bits whatever varies, alone and together", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			tokens, others := sequence(subject().Goldens())
			main, err := subject().Main()
			Expect(err).NotTo(HaveOccurred())
			backends, err := subject().Backends()
			Expect(err).NotTo(HaveOccurred())
			b := openBench(subject().Profile.Model, 0)
			plain := setting{backend: main, threads: 1, chunk: sequenceLength, cache: caches[0]}
			evaluate := func(s setting) []float32 {
				logits, err := b.logits(s, tokens[:lengthOn(s.backend)], others)
				Expect(err).NotTo(HaveOccurred(), s.String())
				return logits
			}
			reference, err := b.logits(plain, tokens, others)
			Expect(err).NotTo(HaveOccurred())
			compare := func(name string, values []string, settings []setting) {
				equal, different := 0, ""
				for _, s := range settings {
					if sameBits(evaluate(s), reference) {
						equal++
					} else if different == "" {
						different = s.String()
					}
				}
				evidence.Observe(name, fmt.Sprintf("%s: %d of %d equal", strings.Join(values, ", "), equal, len(settings)), "")
				Expect(different).To(BeEmpty(), "%s: the first setting with other bits", name)
			}
			factors, devices := factorsOf(backends)
			for _, f := range append(slices.Clone(factors), devices) {
				var settings []setting
				for value := range f.values {
					s := plain
					f.set(&s, value)
					settings = append(settings, s)
				}
				Expect(settings).NotTo(BeEmpty(), f.name)
				compare(f.name, f.values, settings)
			}
			seed, err := expectation.RunSeed()
			Expect(err).NotTo(HaveOccurred())
			random := rand.New(rand.NewPCG(seed, 0))
			var together []setting
			for draw := range draws {
				s := plain
				for _, f := range factors {
					f.set(&s, random.IntN(len(f.values)))
				}
				if other := draw + 1; other < len(devices.values) { // the first draws go to the other devices, one each
					devices.set(&s, other)
				}
				together = append(together, s)
			}
			compare("all together", []string{fmt.Sprintf("%d settings drawn with seed %d", draws, seed)}, together)

			changed := slices.Clone(tokens)
			changed[0] = others[0]
			other, err := b.logits(plain, changed, others)
			Expect(err).NotTo(HaveOccurred())
			Expect(other).NotTo(matchers.HaveSameBits(reference), "control: another first token")
			evidence.Observe("control: another token", "differs", "")
			other, err = openBench(subject().Profile.Model, 1).logits(plain, tokens, others)
			Expect(err).NotTo(HaveOccurred())
			Expect(other).NotTo(matchers.HaveSameBits(reference), "control: the last bit of one weight")
			evidence.Observe("control: one bit of one weight", "differs", "")
			evidence.LogitsHash(fmt.Sprintf("%d tokens in every setting", sequenceLength), tiny.Hash(reference))
		})
	})
}

// sequence takes the tokens to evaluate from the longest prompt of the goldens, and as many others from its end.
func sequence(known goldens.Goldens) (tokens, others []int32) {
	longest := slices.MaxFunc(known.Prompts, func(a, b goldens.Golden) int { return len(a.PromptIDs) - len(b.PromptIDs) })
	Expect(len(longest.PromptIDs)).To(BeNumerically(">", sequenceLength+forkAt), "the tokens of prompt %s", longest.Name)
	return longest.PromptIDs[:sequenceLength], longest.PromptIDs[sequenceLength:]
}

// openBench describes the model, with the bits of flip changed in its last norm's first weight. What is loaded is closed at the
// end of the spec.
func openBench(path string, flip byte) *bench {
	GinkgoHelper()
	file, err := gguf.Open(path)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(file.Close)
	description, err := modelfile.Describe(file)
	Expect(err).NotTo(HaveOccurred())
	const sessions = 6 // the sequence, its donor, the company, and one to spare
	description.KVCacheBytes = sessions * 4 * uint64(description.BlockCount*description.HeadCountKV*description.HeadDim*description.ContextLength)
	at := slices.IndexFunc(description.Tensors, func(t native.Tensor) bool { return t.Name == "output_norm.weight" })
	Expect(at).To(BeNumerically(">=", 0))
	data := slices.Clone(description.Tensors[at].Data)
	data[0] ^= flip
	description.Tensors[at].Data = data
	b := &bench{description: description, models: map[string]*loaded{}}
	DeferCleanup(b.close)
	return b
}
