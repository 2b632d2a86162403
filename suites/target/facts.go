package target

import (
	"fmt"

	"touchstone/native/gguf"
)

// ModelFacts is what the model file itself says, read without the worker.
type ModelFacts struct {
	Name          string `json:"name"`
	Architecture  string `json:"architecture"`
	VocabSize     int    `json:"vocabSize"`
	ContextLength int    `json:"contextLength"`
	TensorBytes   uint64 `json:"tensorBytes"`
}

// ModelFacts reads the model file of the configuration.
func (t *Target) ModelFacts() (ModelFacts, error) {
	file, err := gguf.Open(t.Profile.Model)
	if err != nil {
		return ModelFacts{}, err
	}
	defer func() { _ = file.Close() }()
	facts := ModelFacts{Name: t.ModelLabel()}
	if facts.Architecture, err = file.String("general.architecture"); err != nil {
		return facts, err
	}
	if name, err := file.String("general.name"); err == nil {
		facts.Name = name
	}
	length, err := file.Uint64(facts.Architecture + ".context_length")
	if err != nil {
		return facts, err
	}
	facts.ContextLength = int(length)
	table, found := file.Tensor("token_embd.weight")
	if !found || len(table.Shape) != 2 {
		return facts, fmt.Errorf("%s has no token_embd.weight [width, vocab]", t.Profile.Model)
	}
	facts.VocabSize = int(table.Shape[1])
	for _, tensor := range file.Tensors {
		facts.TensorBytes += tensor.Bytes
	}
	return facts, nil
}
