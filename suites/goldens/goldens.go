// Package goldens reads what the oracle computed for the bundled model; see fixtures/oracle.
package goldens

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"math"
	fixtures "touchstone/fixtures/goldens"
)

// Goldens is what Hugging Face transformers computed for a model and a list of prompts; see fixtures/oracle.
type Goldens struct {
	Model     string            `json:"model"`
	SHA256    string            `json:"sha256"`
	DType     string            `json:"dtype"`
	Libraries map[string]string `json:"libraries"`
	Prompts   []Golden          `json:"goldens"`
}

// Golden is one prompt with its greedy continuation.
type Golden struct {
	Name      string  `json:"name"`
	Prompt    string  `json:"prompt"`
	PromptIDs []int32 `json:"prompt_ids"`
	GreedyIDs []int32 `json:"greedy_ids"`
	// EndStep is the step that chose an end token; nil if none did. The oracle goes on, a worker stops there.
	EndStep    *int             `json:"end_step"`
	GreedyText string           `json:"greedy_text"`
	MinMargin  float64          `json:"min_margin"`
	Positions  []GoldenPosition `json:"positions"`
}

// GoldenPosition is what the oracle says about the logits of one position of prompt and continuation.
type GoldenPosition struct {
	Position int     `json:"position"`
	Max      float64 `json:"max"`
	Mean     float64 `json:"mean"`
	Norm     float64 `json:"norm"`
	Top      []struct {
		ID    int32   `json:"id"`
		Logit float64 `json:"logit"`
	} `json:"top"`
	LogitsBase64 string `json:"logits_f32le_base64"`
}

// ContinuationIDs are the tokens that a worker sends: those before the end token.
func (g Golden) ContinuationIDs() []int32 {
	if g.EndStep == nil {
		return g.GreedyIDs
	}
	return g.GreedyIDs[:*g.EndStep]
}

// StopReason is why a worker stops that was asked for as many tokens as the oracle computed.
func (g Golden) StopReason() string {
	if g.EndStep == nil {
		return "max_tokens"
	}
	return "end_of_text"
}

// Logits are all logits of the position; nil where the goldens hold a summary only.
func (p GoldenPosition) Logits() ([]float32, error) {
	if p.LogitsBase64 == "" {
		return nil, nil
	}
	raw, err := base64.StdEncoding.DecodeString(p.LogitsBase64)
	if err != nil || len(raw)%4 != 0 {
		return nil, fmt.Errorf("the golden logits of position %d cannot be decoded: %w", p.Position, err)
	}
	logits := make([]float32, len(raw)/4)
	for i := range logits {
		logits[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return logits, nil
}

// Bundled are the goldens of the bundled model.
func Bundled() (Goldens, error) {
	const name = "haiku-f16.json"
	var goldens Goldens
	text, err := fixtures.Files.ReadFile(name)
	if err != nil {
		return goldens, err
	}
	if err := json.Unmarshal(text, &goldens); err != nil {
		return goldens, fmt.Errorf("%s is not what the oracle writes: %w", name, err)
	}
	if len(goldens.Prompts) == 0 {
		return goldens, fmt.Errorf("%s holds no prompt", name)
	}
	return goldens, nil
}
