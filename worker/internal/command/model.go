package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"touchstone/native"
	"touchstone/native/gguf"
	"touchstone/worker/api"
	"touchstone/worker/tokenizer"
)

// defaultModel is the bundled model, relative to the repository.
const defaultModel = "fixtures/models/haiku.gguf"

// modelFile is an open model file and what it says. Close it once the model is loaded: the rest stays.
type modelFile struct {
	*gguf.File
	description native.ModelDescription
	tokenizer   *tokens
	about       api.Model
}

// openModel is openModelFor the model's own context.
func openModel(name string) (*modelFile, error) { return openModelFor(name, 0) }

// openModelFor opens and checks a model file for a context of so many tokens, or the model's own for 0; an empty path means
// the bundled model.
func openModelFor(name string, contextLength int) (*modelFile, error) {
	if name == "" {
		if name = defaultModel; !isFile(name) {
			return nil, fmt.Errorf("--model: name a GGUF file (the bundled %s is not in this folder)", defaultModel)
		}
	}
	file, err := gguf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--model: %w", err)
	}
	m := &modelFile{File: file}
	if err := m.read(name, contextLength); err != nil {
		return nil, errors.Join(fmt.Errorf("--model: %s: %w", name, err), file.Close())
	}
	return m, nil
}

func (m *modelFile) read(name string, contextLength int) error {
	var err error
	if m.description, err = native.DescribeModelFor(m.File, contextLength); err != nil {
		return err
	}
	model, err := tokenizer.FromGGUF(m.File)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	m.tokenizer = &tokens{model}
	m.about = api.Model{
		Name:         textOr(m.File, "general.name", strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))),
		Architecture: textOr(m.File, "general.architecture", ""), QuantKind: quantKind(m.File), TokenizerKind: model.Kind(),
		VocabSize: m.description.VocabSize, ContextLength: m.description.ContextLength,
		Modified: info.ModTime(),
	}
	if m.Has("tokenizer.chat_template") {
		source, err := m.String("tokenizer.chat_template")
		if err != nil {
			return err
		}
		m.about.Chat, m.about.ChatProblem = api.NewChatTemplate(source, m.tokenizer.control(model.BOS()), m.tokenizer.control(model.EOS()))
	}
	return nil
}

func textOr(file *gguf.File, key, fallback string) string {
	if text, err := file.String(key); err == nil && text != "" {
		return text
	}
	return fallback
}

// quantKind is the format that most weights of the file have: what the tensors are, not what the file calls itself.
func quantKind(file *gguf.File) string {
	count := map[gguf.Type]uint64{}
	kind := gguf.F32
	for _, tensor := range file.Tensors {
		if count[tensor.Type] += elements(tensor); count[tensor.Type] > count[kind] {
			kind = tensor.Type
		}
	}
	return kind.String()
}
