package expectation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"touchstone/native"
	"touchstone/native/gguf"
	"touchstone/suites/internal/sampling"
	"touchstone/suites/internal/tokens"
)

// Reference computes expectations: the reference library on the processor with the model that is under test. It is safe for
// concurrent use, one evaluation at a time.
type Reference struct {
	tokens        *tokens.Tokenizer
	contextLength int
	vocabulary    int

	mu      sync.Mutex
	context native.Context
	model   native.Model
}

// loadBudget is the most bytes of a model that are moved at a time.
const loadBudget = 64 << 20

// Open loads a model file. The caller closes the reference.
func Open(path string) (r *Reference, err error) {
	file, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	description, err := native.DescribeModel(file)
	if err != nil {
		return nil, err
	}
	vocabulary, err := tokens.Read(file)
	if err != nil {
		return nil, fmt.Errorf("the vocabulary of %s: %w", path, err)
	}
	return load(description, vocabulary)
}

func load(description native.ModelDescription, vocabulary *tokens.Tokenizer) (*Reference, error) {
	context, err := OpenProcessor()
	if err != nil {
		return nil, err
	}
	model, err := Load(context, description)
	if err != nil {
		return nil, errors.Join(err, context.Close())
	}
	return &Reference{
		tokens: vocabulary, contextLength: description.ContextLength, vocabulary: description.VocabSize, context: context, model: model,
	}, nil
}

// OpenProcessor opens a context of the reference library on the processor. The caller closes it.
func OpenProcessor() (native.Context, error) {
	library := native.Builtin()
	devices, err := library.Devices()
	if err != nil {
		return nil, err
	}
	device := slices.IndexFunc(devices, func(d native.DeviceProperties) bool { return d.Kind == native.DeviceCPU })
	if device < 0 {
		return nil, errors.New("the reference library offers no processor")
	}
	return library.NewContext(device, native.ContextOptions{})
}

// Load loads a model into a context, and gives up cleanly when that fails.
func Load(context native.Context, description native.ModelDescription) (native.Model, error) {
	loading, err := context.BeginModel(description)
	if err != nil {
		return nil, err
	}
	for done, total := uint64(0), uint64(1); done < total; {
		if done, total, err = loading.Step(loadBudget); err != nil {
			return nil, errors.Join(err, loading.Close())
		}
	}
	model, err := loading.Finish()
	if err != nil {
		return nil, errors.Join(err, loading.Close())
	}
	return model, nil
}

// Close frees the model.
func (r *Reference) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.model.Close(), r.context.Close())
}

// ContextLength is the model's, in tokens.
func (r *Reference) ContextLength() int { return r.contextLength }

// Encode gives the ids of a text by itself.
func (r *Reference) Encode(text string) ([]int32, error) { return r.tokens.Encode(text) }

// trace is what the reference chose, token by token, and what it said about it.
type trace struct {
	tokens   []int32
	logprobs []float64
	top      [][]native.TokenLogprob
	chains   []string // hash over the logits of the tokens so far
}

func (q Request) native() *native.Sampling {
	return &native.Sampling{Temperature: float32(q.Temperature), TopK: q.TopK, TopP: float32(q.TopP), MinP: float32(q.MinP),
		RepetitionPenalty: float32(q.RepetitionPenalty), Seed: q.SamplingSeed, TopLogprobs: q.Alternatives}
}

// settings are those of the float64 reference for the token at a position.
func (q Request) settings(position int) sampling.Settings {
	return sampling.Settings{Temperature: float64(float32(q.Temperature)), TopP: float64(float32(q.TopP)), MinP: float64(float32(q.MinP)),
		Penalty: float64(float32(q.RepetitionPenalty)), TopK: q.TopK, Seed: q.SamplingSeed, Position: position}
}

// run lets the reference answer: until a token ends the text, or to the most tokens.
func (r *Reference) run(prompt []int32, q Request) (t trace, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	session, err := r.model.NewSession(native.SessionOptions{})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	const chunk = 512
	history := slices.Clone(prompt)
	next := prompt
	for len(next) > chunk {
		if err := r.step(&native.StepItem{Session: session, Tokens: next[:chunk]}); err != nil {
			return t, err
		}
		next = next[chunk:]
	}
	item := native.StepItem{Session: session, Want: native.LogitsLast, Sampling: q.native()}
	var chain [sha256.Size]byte
	for range q.MaxTokens {
		item.Tokens = next
		if err := r.step(&item); err != nil {
			return t, err
		}
		if err := secondOpinion(q, item, history); err != nil {
			return t, err
		}
		chain = chainLogits(chain, item.Logits)
		t.tokens = append(t.tokens, item.Token)
		t.logprobs = append(t.logprobs, float64(item.Logprob))
		t.top = append(t.top, slices.Clone(item.Top))
		t.chains = append(t.chains, hex.EncodeToString(chain[:]))
		history = append(history, item.Token)
		if r.tokens.EndsText(item.Token) {
			break
		}
		next = []int32{item.Token}
	}
	return t, nil
}

func (r *Reference) step(item *native.StepItem) error {
	items := []native.StepItem{*item}
	err := errors.Join(r.model.Step(items), items[0].Err)
	*item = items[0]
	return err
}

// logprobBound is what a log-probability of the reference library may differ from the one in float64: its own rounding, with the
// logarithm, over a sum whose terms are kept in steps of 2^-40.
const logprobBound = 1e-5

// everyLarge is how many choices from a large vocabulary are followed by one that is worked out a second time.
const everyLarge, largeVocabulary = 16, 1 << 14

// secondOpinion works a choice of the reference library out in float64: the expectation must not be one implementation's word.
func secondOpinion(q Request, item native.StepItem, history []int32) error {
	if len(item.Logits) > largeVocabulary && len(history)%everyLarge != 0 {
		return nil
	}
	want := sampling.Sample(q.settings(len(history)), item.Logits, history)
	if !slices.Contains(want.Tokens, item.Token) {
		return fmt.Errorf("the reference library chose token %d at position %d, the float64 reference allows %v (%s)",
			item.Token, len(history), want.Tokens, q.settings(len(history)))
	}
	if exact := logprob(item.Logits, item.Token); math.Abs(exact-float64(item.Logprob)) > logprobBound*(1+math.Abs(exact)) {
		return fmt.Errorf("the reference library gives token %d at position %d the log-probability %v, float64 %v",
			item.Token, len(history), item.Logprob, exact)
	}
	return nil
}

// logprob is the natural log-probability of a token under logits, in float64.
func logprob(logits []float32, token int32) float64 {
	largest, sum := float64(slices.Max(logits)), 0.0
	for _, logit := range logits {
		sum += math.Exp(float64(logit) - largest)
	}
	return float64(logits[token]) - largest - math.Log(sum)
}

// chainLogits is SHA-256(previous hash, logits as little-endian float32).
func chainLogits(previous [sha256.Size]byte, logits []float32) [sha256.Size]byte {
	data := make([]byte, 0, sha256.Size+4*len(logits))
	data = append(data, previous[:]...)
	for _, value := range logits {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value))
	}
	return sha256.Sum256(data)
}

// evaluate gives the logits before each of the chosen tokens, and those after the last of them, [len(chosen)+1][vocabulary].
func (r *Reference) evaluate(prompt, chosen []int32) (logits [][]float32, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	session, err := r.model.NewSession(native.SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	const chunk = 256
	all := slices.Concat(prompt, chosen)
	for at := 0; at < len(all); at += chunk {
		part := all[at:min(at+chunk, len(all))]
		item := native.StepItem{Session: session, Tokens: part}
		if at+len(part) >= len(prompt) {
			item.Want = native.LogitsAll
		}
		if err := r.step(&item); err != nil {
			return nil, err
		}
		for i := 0; len(item.Logits) > 0 && i < len(part); i++ {
			if at+i >= len(prompt)-1 {
				logits = append(logits, item.Logits[i*r.vocabulary:(i+1)*r.vocabulary])
			}
		}
	}
	return logits, nil
}
