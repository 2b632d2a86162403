package soak

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"touchstone/native"
	"touchstone/native/gguf"
	"touchstone/reports/soak"
	"touchstone/suites/api"
	"touchstone/suites/internal/modelfile"
	"touchstone/suites/library"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// nativeRoute runs requests through the native library, without a worker: what it computes must be the same. It varies what
// HTTP cannot reach: the chunks of a prompt, truncated sessions and shared blocks.
type nativeRoute struct {
	target *target.Target
	loaded map[string]*loadedModel // by threads and instruction set
	tokens map[string][]int32      // by prompt
	ends   map[int32]bool          // tokens that end a text; nil: not asked yet
}

type loadedModel struct {
	context native.Context
	model   native.Model
	maxRows int
}

func newNativeRoute(t *target.Target) *nativeRoute {
	return &nativeRoute{target: t, loaded: map[string]*loadedModel{}, tokens: map[string][]int32{}}
}

func (r *nativeRoute) close() error {
	var problems []error
	for _, loaded := range r.loaded {
		problems = append(problems, loaded.close())
	}
	return errors.Join(problems...)
}

func (l *loadedModel) close() error { return errors.Join(l.model.Close(), l.context.Close()) }

// sequence is one request under way.
type sequence struct {
	role      string
	request   int
	prompt    []int32
	maxTokens int
	sampling  native.Sampling
	wait      int // steps to let pass before it starts
	chunk     int // most prompt tokens of a step

	session   native.Session
	evaluated int // prompt tokens
	next      []int32
	chain     [sha256.Size]byte
	outcome   soak.Outcome
	done      bool
}

// arrivalSteps is how many steps company arrives before or after the drawn request.
const arrivalSteps = 3

func (r *nativeRoute) execute(ctx context.Context, plan *soak.Plan, run soak.Run) (answers []soak.Answer, err error) {
	loaded, err := r.model(run.Levels)
	if err != nil {
		return nil, err
	}
	if run.Levels[Process] == "fresh" {
		defer func() { err = errors.Join(err, loaded.close()) }()
	}
	sequences, err := r.sequences(ctx, plan, run)
	if err != nil {
		return nil, err
	}
	history, err := r.openSessions(ctx, loaded, plan, run, sequences)
	defer func() {
		for _, session := range history {
			err = errors.Join(err, session.Close())
		}
		for _, s := range sequences {
			if s.session != nil {
				err = errors.Join(err, s.session.Close())
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := r.finish(ctx, loaded, sequences); err != nil {
		return nil, err
	}
	for _, s := range sequences {
		answers = append(answers, soak.Answer{Role: s.role, Request: s.request, Outcome: s.outcome})
	}
	return answers, nil
}

// sequences lays out the drawn request and its company.
func (r *nativeRoute) sequences(ctx context.Context, plan *soak.Plan, run soak.Run) ([]*sequence, error) {
	subjectWait, companyWait := 0, 0
	switch run.Levels[Arrival] {
	case "before":
		subjectWait = arrivalSteps
	case "after":
		companyWait = arrivalSteps
	}
	subject, err := r.sequence(ctx, plan, run, soak.SubjectRole, run.Request, subjectWait)
	if err != nil {
		return nil, err
	}
	sequences := []*sequence{subject}
	for i, request := range run.Company {
		s, err := r.sequence(ctx, plan, run, "company "+strconv.Itoa(i+1), request, companyWait)
		if err != nil {
			return nil, err
		}
		sequences = append(sequences, s)
	}
	return sequences, nil
}

func (r *nativeRoute) sequence(ctx context.Context, plan *soak.Plan, run soak.Run, role string, request, wait int) (*sequence, error) {
	q := plan.Requests[request]
	prompt, err := r.tokenize(ctx, q.Prompt)
	if err != nil {
		return nil, err
	}
	chunk, err := strconv.Atoi(run.Levels[Chunking])
	if err != nil {
		chunk = len(prompt) // "whole"
	}
	return &sequence{
		role: role, request: request, prompt: prompt, maxTokens: q.MaxTokens, wait: wait, chunk: chunk, next: make([]int32, 1),
		sampling: native.Sampling{
			Temperature: float32(q.Temperature), TopK: q.TopK, TopP: float32(q.TopP), MinP: float32(q.MinP),
			RepetitionPenalty: float32(q.RepetitionPenalty), Seed: q.Seed, TopLogprobs: 1,
		},
	}, nil
}

// openSessions gives every sequence a session; the drawn one's has the history that its cache state asks for. The sessions
// returned are those of the history, to be closed at the end.
func (r *nativeRoute) openSessions(ctx context.Context, loaded *loadedModel, plan *soak.Plan, run soak.Run, sequences []*sequence) (history []native.Session, err error) {
	subject := sequences[0]
	for i, s := range sequences {
		if i == 0 && run.Levels[Cache] == "shared" {
			continue
		}
		if s.session, err = loaded.model.NewSession(native.SessionOptions{}); err != nil {
			return nil, err
		}
	}
	switch run.Levels[Cache] {
	case "warm":
		// The session has seen the whole prompt and a token more; the second half is evaluated again.
		tokens := append(slices.Clone(subject.prompt), subject.prompt[0])
		if err := evaluate(loaded.model, subject.session, tokens); err != nil {
			return nil, err
		}
		subject.evaluated = len(subject.prompt) / 2
		return nil, subject.session.Truncate(subject.evaluated)
	case "shared":
		partner, err := r.tokenize(ctx, plan.Requests[plan.Partner(run.Request)].Prompt)
		if err != nil {
			return nil, err
		}
		donor, err := loaded.model.NewSession(native.SessionOptions{})
		if err != nil {
			return nil, err
		}
		history = append(history, donor)
		if err := evaluate(loaded.model, donor, partner); err != nil {
			return history, err
		}
		for subject.evaluated < min(len(partner), len(subject.prompt)-1) && partner[subject.evaluated] == subject.prompt[subject.evaluated] {
			subject.evaluated++
		}
		subject.session, err = donor.Fork(subject.evaluated)
		return history, err
	}
	return nil, nil
}

func evaluate(model native.Model, session native.Session, tokens []int32) error {
	items := []native.StepItem{{Session: session, Tokens: tokens}}
	return errors.Join(model.Step(items), items[0].Err)
}

// finish steps all sequences together until each has ended.
func (r *nativeRoute) finish(ctx context.Context, loaded *loadedModel, sequences []*sequence) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var items []native.StepItem
		var stepped []*sequence
		room := loaded.maxRows
		waiting := false
		for _, s := range sequences {
			switch {
			case s.done || room == 0:
			case s.wait > 0:
				s.wait--
				waiting = true
			default:
				item := s.item(room)
				room -= len(item.Tokens)
				items, stepped = append(items, item), append(stepped, s)
			}
		}
		if len(items) == 0 {
			if waiting {
				continue
			}
			return nil
		}
		if err := loaded.model.Step(items); err != nil {
			return err
		}
		for i, s := range stepped {
			if items[i].Err != nil {
				return fmt.Errorf("%s: %w", s.role, items[i].Err)
			}
			s.take(&items[i], r.ends)
		}
	}
}

// item is the sequence's part of the next step: a chunk of its prompt, or the token chosen last.
func (s *sequence) item(room int) native.StepItem {
	if rest := s.prompt[s.evaluated:]; len(rest) > 0 {
		chunk := rest[:min(len(rest), s.chunk, room)]
		if len(chunk) < len(rest) {
			return native.StepItem{Session: s.session, Tokens: chunk}
		}
		return native.StepItem{Session: s.session, Tokens: chunk, Sampling: &s.sampling, Want: native.LogitsLast}
	}
	return native.StepItem{Session: s.session, Tokens: s.next, Sampling: &s.sampling, Want: native.LogitsLast}
}

// take handles the outcome of a step. The hash is the worker's: a chain of SHA-256 over the little-endian logits of every
// chosen token, the one that ends a text included, starting with 32 zero bytes.
func (s *sequence) take(item *native.StepItem, ends map[int32]bool) {
	if s.evaluated < len(s.prompt) {
		s.evaluated += len(item.Tokens)
	}
	if item.Sampling == nil {
		return
	}
	data := slices.Clone(s.chain[:])
	for _, logit := range item.Logits {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(logit))
	}
	s.chain = sha256.Sum256(data)
	s.outcome.LogitsSHA256 = hex.EncodeToString(s.chain[:])
	if ends[item.Token] {
		s.done, s.outcome.StopReason = true, "end_of_text"
		return
	}
	s.next[0] = item.Token
	s.outcome.Tokens = append(s.outcome.Tokens, item.Token)
	s.outcome.Logprobs = append(s.outcome.Logprobs, float64(item.Logprob))
	if len(s.outcome.Tokens) == s.maxTokens {
		s.done, s.outcome.StopReason = true, "max_tokens"
	}
}

// model gives the model loaded with the threads and instruction set of the levels; a fresh one is the caller's to close.
func (r *nativeRoute) model(levels map[string]string) (*loadedModel, error) {
	key := launchKey(levels)
	fresh := levels[Process] == "fresh"
	if loaded, found := r.loaded[key]; found && !fresh {
		return loaded, nil
	}
	loaded, err := r.load(levels)
	if err == nil && !fresh {
		r.loaded[key] = loaded
	}
	return loaded, err
}

func (r *nativeRoute) load(levels map[string]string) (_ *loadedModel, err error) {
	threads, err := strconv.Atoi(levels[Threads])
	if err != nil && levels[Threads] != "" {
		return nil, fmt.Errorf("the level %q of %s is not a number", levels[Threads], Threads)
	}
	backend, err := r.backend(levels[ISA])
	if err != nil {
		return nil, err
	}
	file, err := gguf.Open(r.target.Profile.Model)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if r.ends == nil {
		if r.ends, err = endTokens(file); err != nil {
			return nil, err
		}
	}
	description, err := modelfile.Describe(file)
	if err != nil {
		return nil, err
	}
	// Room for the largest company and the history.
	const sessions = 10
	description.KVCacheBytes = sessions * 4 * uint64(description.BlockCount*description.HeadCountKV*description.HeadDim*description.ContextLength)
	nativeContext, err := backend.Open(native.ContextOptions{Threads: threads})
	if err != nil {
		return nil, err
	}
	model, err := load(nativeContext, description)
	if err != nil {
		return nil, errors.Join(err, nativeContext.Close())
	}
	info, err := model.Info()
	if err != nil {
		return nil, errors.Join(err, model.Close(), nativeContext.Close())
	}
	return &loadedModel{context: nativeContext, model: model, maxRows: info.MaxRows}, nil
}

// backend is the device with its fastest instruction set, or the processor with the one that is named.
func (r *nativeRoute) backend(isa string) (library.Backend, error) {
	if isa == "" || isa == "auto" {
		return r.target.Main()
	}
	backends, err := r.target.Backends()
	if err != nil {
		return library.Backend{}, err
	}
	for _, backend := range backends {
		if backend.Name == "cpu/"+isa {
			return backend, nil
		}
	}
	return library.Backend{}, fmt.Errorf("the library offers no instruction set %q", isa)
}

func load(nativeContext native.Context, description native.ModelDescription) (native.Model, error) {
	loading, err := nativeContext.BeginModel(description)
	if err != nil {
		return nil, err
	}
	for done, total := uint64(0), uint64(1); done < total; {
		if done, total, err = loading.Step(0); err != nil {
			return nil, errors.Join(err, loading.Close())
		}
	}
	model, err := loading.Finish()
	if err != nil {
		return nil, errors.Join(err, loading.Close())
	}
	return model, nil
}

// endNames are the names of tokens that end a text or a turn in the bundled models.
var endNames = []string{"<|endoftext|>", "<|im_end|>"}

// endTokens are the tokens after which a worker stops.
func endTokens(file *gguf.File) (map[int32]bool, error) {
	names, err := file.Strings("tokenizer.ggml.tokens")
	if err != nil {
		return nil, err
	}
	ends := map[int32]bool{}
	for _, name := range endNames {
		if id := slices.Index(names, name); id >= 0 {
			ends[int32(id)] = true
		}
	}
	return ends, nil
}

// tokenize asks the worker, once for each prompt.
func (r *nativeRoute) tokenize(ctx context.Context, prompt string) ([]int32, error) {
	if ids, known := r.tokens[prompt]; known {
		return ids, nil
	}
	response, err := r.target.Client().Do(ctx, wire.Post("/tokenize", map[string]any{"text": prompt}))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Tokens []api.Piece `json:"tokens"`
	}
	if err := response.JSON(&answer); err != nil {
		return nil, fmt.Errorf("POST /tokenize: %w", err)
	}
	if len(answer.Tokens) == 0 {
		return nil, fmt.Errorf("POST /tokenize: %d %s", response.Status, response.Body)
	}
	r.tokens[prompt] = api.PieceIDs(answer.Tokens)
	return r.tokens[prompt], nil
}
