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
	KVElements    uint64 `json:"kvElements"` // keys and values of one position
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
	if facts.KVElements, err = kvElements(file, facts.Architecture); err != nil {
		return facts, err
	}
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

// kvElements counts the keys and values that the model keeps of one position.
func kvElements(file *gguf.File, architecture string) (uint64, error) {
	value := func(name string) uint64 {
		number, err := file.Uint64(architecture + "." + name)
		if err != nil {
			return 0
		}
		return number
	}
	heads := value("attention.head_count")
	if heads == 0 {
		return 0, fmt.Errorf("%s.attention.head_count is missing or 0", architecture)
	}
	width := value("embedding_length") / heads
	if own := value("attention.key_length"); own > 0 {
		width = own
	}
	headsKV := value("attention.head_count_kv")
	if headsKV == 0 { // every head has its own
		headsKV = heads
	}
	return 2 * value("block_count") * headsKV * width, nil
}
