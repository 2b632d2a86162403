package determinism

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/fixtures/quantize"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/target"
)

// registerFormats adds a spec for every weight format: the bundled model, quantised in memory, on every backend.
func registerFormats(subject func() *target.Target) {
	Describe("every weight format", requirement.Claim("determinism.formats"), func() {
		for _, format := range quantize.Formats() {
			It("agrees with the oracle, and in every bit between all backends, in "+format, SpecTimeout(specTimeout), func(SpecContext) {
				subject().Require(target.Native)
				model := subject().Goldens().SHA256 // skips where the model has no goldens
				backends, err := subject().Backends()
				Expect(err).NotTo(HaveOccurred())
				goldens, err := readJSON[formatGoldens](goldensPath)
				Expect(err).NotTo(HaveOccurred())
				Expect(goldens.SHA256).To(Equal(model), "the model that %s was made from", goldensPath)
				golden, err := goldens.format(format)
				Expect(err).NotTo(HaveOccurred())
				own, err := readJSON[ownHashes](hashesPath)
				Expect(err).NotTo(HaveOccurred())
				proofs := proveFormat(NewGomega(Fail), subject().Profile.Model, golden, backends)
				Expect(proofs).NotTo(BeEmpty())
				for _, p := range proofs {
					evidence.KernelError("whole model", strings.ToLower(format), p.backend, p.compared, p.worst, p.where)
					for _, prompt := range slices.Sorted(maps.Keys(p.hashes)) {
						evidence.LogitsHash(fmt.Sprintf("%s, prompt %s, on %s", format, prompt, p.backend), p.hashes[prompt])
					}
					p.expectHashes(NewGomega(Fail), own.Formats[format])
				}
				most := slices.MaxFunc(proofs, func(a, b proof) int { return a.decided - b.decided })
				evidence.Observe("greedy tokens that a margin decides, all equal", fmt.Sprintf("%d of %d", most.decided, most.choices), "")
			})
		}
	})
}

// proof is what one backend computed in one format.
type proof struct {
	backend string
	agreement
	hashes map[string]string // of the logits of all positions, by prompt
}

// expectHashes compares the hashes with the golden ones of the format.
func (p proof) expectHashes(g Gomega, golden map[string]string) {
	for prompt, hash := range p.hashes {
		g.Expect(hash).To(Equal(golden[prompt]), "prompt %s on %s: near the oracle, but not the bits of the contract", prompt, p.backend)
	}
}

// fewPrompts are the prompts, from the first on, that the simulator and scalar code evaluate: seconds each otherwise.
const fewPrompts = 1

func slow(backend library.Backend) bool { return backend.Slow || backend.Name == "cpu/scalar" }

// proveFormat quantises the model and, on every backend, compares the logits of the goldens' prompts with the oracle's and
// hashes them.
func proveFormat(g Gomega, model string, golden formatGolden, backends []library.Backend) []proof {
	raw, err := quantised(model, golden.Format)
	g.Expect(err).NotTo(HaveOccurred())
	sum := sha256.Sum256(raw)
	g.Expect(hex.EncodeToString(sum[:])).To(Equal(golden.SHA256), "the file that the oracle read in %s", golden.Format)
	g.Expect(len(golden.Goldens)).To(BeNumerically(">", fewPrompts))
	var proofs []proof
	for _, backend := range backends {
		prompts := golden.Goldens
		if slow(backend) {
			prompts = prompts[:fewPrompts]
		}
		logits, err := logitsOf(backend, raw, prompts)
		g.Expect(err).NotTo(HaveOccurred(), "%s on %s", golden.Format, backend.Name)
		p := proof{backend: backend.Name, hashes: map[string]string{}}
		for i, prompt := range prompts {
			p.agreement = p.add(prompt.expectAgreement(g, logits[i], goldenBound))
			p.hashes[prompt.Name] = tiny.Hash(logits[i])
		}
		g.Expect(p.decided).To(BeNumerically(">=", (9*p.choices+9)/10), "greedy tokens that the bound lets the oracle decide")
		proofs = append(proofs, p)
	}
	return proofs
}
