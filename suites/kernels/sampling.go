package kernels

import (
	"hash/fnv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/suites/internal/sampling"
)

// withDefaults switches off what a crafted case does not set; top-p 0 is meant where the case's name says top-p.
func withDefaults(s sampling.Settings, name string) sampling.Settings {
	if s.Penalty == 0 {
		s.Penalty = 1
	}
	if s.TopP == 0 && name != "top-p 0 keeps the likeliest" {
		s.TopP = 1
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	s.Seed = uint64(hash.Sum32())
	return s
}

type sampled struct {
	token         int32
	probabilities []float32
}

func sampleOp(s sampling.Settings, logits []float32, history []int32) (native.Op, func() sampled) {
	token := native.Tensor{DType: native.I32, Shape: shape(1), Data: make([]byte, 4)}
	probabilities := floatTensor(make([]float32, len(logits)), len(logits))
	op := native.Op{
		Name: "sample", Inputs: []native.Tensor{floatTensor(logits, len(logits)), intTensor(history)},
		Outputs: []native.Tensor{token, probabilities},
		Parameters: map[string]float64{
			"temperature": s.Temperature, "top_k": float64(s.TopK), "top_p": s.TopP, "min_p": s.MinP, "repetition_penalty": s.Penalty,
			"seed_low": float64(uint32(s.Seed)), "seed_high": float64(uint32(s.Seed >> 32)), "position": float64(s.Position),
		},
	}
	return op, func() sampled {
		return sampled{token: intsOf(token.Data)[0], probabilities: floatsOf(probabilities.Data)}
	}
}

func runSample(context native.Context, s sampling.Settings, logits []float32, history []int32) sampled {
	GinkgoHelper()
	op, result := sampleOp(s, logits, history)
	Expect(context.RunOp(op)).To(Succeed(), s.String())
	return result()
}

// settingsOf are those of the reference for a draw at a position.
func settingsOf(s *native.Sampling, position int) sampling.Settings {
	return sampling.Settings{Temperature: float64(s.Temperature), TopP: float64(s.TopP), MinP: float64(s.MinP),
		Penalty: float64(s.RepetitionPenalty), TopK: s.TopK, Seed: s.Seed, Position: position}
}
