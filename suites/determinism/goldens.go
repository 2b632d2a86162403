package determinism

import (
	fixtures "touchstone/fixtures/goldens"

	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	. "github.com/onsi/gomega"

	"touchstone/fixtures/quantize"
	"touchstone/native"
	"touchstone/native/gguf"
	"touchstone/suites/goldens"
	"touchstone/suites/internal/modelfile"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
)

// formatGoldens is what the oracle computed for the bundled model in every weight format; see fixtures/oracle/formats.py.
type formatGoldens struct {
	SHA256  string         `json:"sha256"` // of the model that was quantised
	Formats []formatGolden `json:"formats"`
}

// format finds the goldens of a weight format.
func (g formatGoldens) format(name string) (formatGolden, error) {
	for _, golden := range g.Formats {
		if golden.Format == name {
			return golden, nil
		}
	}
	return formatGolden{}, fmt.Errorf("%s has no goldens in %s; make it anew with fixtures/oracle/formats.py", goldensPath, name)
}

type formatGolden struct {
	Format  string         `json:"format"`
	SHA256  string         `json:"sha256"` // of the quantised file
	Goldens []promptGolden `json:"goldens"`
}

// promptGolden is a prompt with its greedy continuation. Margins and norms belong to the logits that chose each of its tokens.
type promptGolden struct {
	Name         string    `json:"name"`
	PromptIDs    []int32   `json:"prompt_ids"`
	GreedyIDs    []int32   `json:"greedy_ids"`
	Margins      []float64 `json:"margins"`
	Norms        []float64 `json:"norms"`
	LogitsBase64 string    `json:"logits_f32le_base64"` // of the last position of the prompt
}

// ownHashes are hashes of this project's own logits, by format and prompt: the bits that every backend must give. They
// prove nothing about being right, so they count only for logits that were compared with the oracle in the same run.
type ownHashes struct {
	Whose   string                       `json:"whose"`
	Formats map[string]map[string]string `json:"logits_sha256"`
}

var (
	goldensPath = "formats.json"
	hashesPath  = "logits-sha256.json"
)

// readJSON reads a file of fixtures/goldens.
func readJSON[T any](path string) (T, error) {
	var content T
	text, err := fixtures.Files.ReadFile(path)
	if err != nil {
		return content, err
	}
	if err := json.Unmarshal(text, &content); err != nil {
		return content, fmt.Errorf("%s: %w", path, err)
	}
	return content, nil
}

// quantised is a model in another format, in memory.
func quantised(model string, format string) (raw []byte, err error) {
	stored, err := quantize.Named(format)
	if err != nil {
		return nil, err
	}
	file, err := gguf.Open(model)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var out bytes.Buffer
	err = quantize.Write(&out, file, stored)
	return out.Bytes(), err
}

// logitsOf loads a model file on a backend and evaluates each prompt with its continuation in a session of its own. It
// gives the logits of every position, [positions][vocab] flat, prompt by prompt.
func logitsOf(backend library.Backend, raw []byte, prompts []promptGolden) (all [][]float32, err error) {
	file, err := gguf.Parse(raw)
	if err != nil {
		return nil, err
	}
	description, err := modelfile.Describe(file)
	if err != nil {
		return nil, err
	}
	context, err := backend.Open(native.ContextOptions{Threads: 2})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, context.Close()) }()
	model, err := tiny.TryLoad(context, description)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	for _, prompt := range prompts {
		session, err := model.NewSession(native.SessionOptions{})
		if err != nil {
			return nil, err
		}
		items := []native.StepItem{{Session: session, Tokens: prompt.evaluated(), Want: native.LogitsAll}}
		if err := errors.Join(model.Step(items), items[0].Err, session.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", prompt.Name, err)
		}
		all = append(all, items[0].Logits)
	}
	return all, nil
}

// evaluated are the prompt and all of the continuation but its last token, whose logits no golden knows.
func (p promptGolden) evaluated() []int32 {
	return append(append([]int32(nil), p.PromptIDs...), p.GreedyIDs[:len(p.GreedyIDs)-1]...)
}

// agreement is how near logits came to the oracle's.
type agreement struct {
	worst            float64 // largest difference as a fraction of its bound
	where            string
	compared         int // logits
	decided, choices int // greedy tokens that a margin above twice the bound decides, and all
}

// add joins two agreements.
func (a agreement) add(b agreement) agreement {
	a.compared, a.decided, a.choices = a.compared+b.compared, a.decided+b.decided, a.choices+b.choices
	if b.worst >= a.worst {
		a.worst, a.where = b.worst, b.where
	}
	return a
}

// expectAgreement compares the logits of a prompt's positions with its golden: each of the last prompt position within
// the bound, a fraction of the position's root mean square, and the greedy token wherever no two logits within their bounds could
// change places.
func (p promptGolden) expectAgreement(g Gomega, logits []float32, bound float64) agreement {
	vocab := len(logits) / len(p.evaluated())
	last := len(p.PromptIDs) - 1
	golden, err := goldens.GoldenPosition{Position: last, LogitsBase64: p.LogitsBase64}.Logits()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(golden).To(HaveLen(vocab), "%s: the golden logits", p.Name)
	result := agreement{compared: vocab, choices: len(p.GreedyIDs)}
	size := func(step int) float64 { return bound * p.Norms[step] / math.Sqrt(float64(vocab)) }
	check := matchers.Bounded{Case: p.Name, Got: logits[last*vocab:][:vocab], At: func(id int) string { return fmt.Sprintf("logit %d", id) }}
	for _, logit := range golden {
		check.Want, check.Bound = append(check.Want, float64(logit)), append(check.Bound, size(0))
	}
	worst, at := check.Worst()
	result.worst, result.where = worst, p.Name+" "+check.Where(at)
	g.Expect(check).To(matchers.BeWithinBound())
	for step, want := range p.GreedyIDs {
		if p.Margins[step] > 2*size(step) {
			result.decided++
			g.Expect(argmax(logits[(last+step)*vocab:][:vocab])).To(Equal(want), "%s: the greedy token of step %d", p.Name, step)
		}
	}
	return result
}
