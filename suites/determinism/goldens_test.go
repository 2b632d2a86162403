package determinism

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"touchstone/fixtures/quantize"
	"touchstone/suites/checkout"
	"touchstone/suites/target"
)

var update = flag.Bool("update", false, "write the hashes of our logits anew")

// The specs of the formats without a gate, for processors that only an emulator runs. Hashes are written only of logits that
// agree with the oracle and between all backends.
func TestEveryFormatHasTheGoldenBits(t *testing.T) {
	g := NewWithT(t)
	subject := target.Target{Profile: target.Profile{Model: filepath.Join(checkout.Root(), "fixtures", "models", "haiku.gguf")}}
	backends, err := subject.Backends()
	g.Expect(err).NotTo(HaveOccurred())
	goldens, err := readJSON[formatGoldens](goldensPath)
	g.Expect(err).NotTo(HaveOccurred())
	own, err := readJSON[ownHashes](hashesPath)
	g.Expect(err).NotTo(HaveOccurred())
	for _, format := range quantize.Formats() {
		golden, err := goldens.format(format)
		g.Expect(err).NotTo(HaveOccurred())
		proofs := proveFormat(g, subject.Profile.Model, golden, backends)
		if *update {
			most := slices.MaxFunc(proofs, func(a, b proof) int { return len(a.hashes) - len(b.hashes) })
			own.Formats[format] = most.hashes
		}
		for _, p := range proofs {
			t.Logf("%s on %s: worst %.3f of the bound at %s, %d of %d greedy tokens decided", format, p.backend, p.worst, p.where, p.decided, p.choices)
			p.expectHashes(g, own.Formats[format])
		}
	}
	if *update {
		text, err := json.MarshalIndent(own, "", " ")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.WriteFile(filepath.Join(checkout.Root(), "fixtures", "goldens", hashesPath), append(text, '\n'), 0o644)).To(Succeed())
	}
}
