package kernels

import (
	"fmt"
	"hash/fnv"
	"math"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
)

// sampling is one setting of the operation "sample".
type sampling struct {
	temperature, topP, minP, penalty float64
	topK                             int
	seed                             uint64
	position                         int
}

// String names the setting.
func (s sampling) String() string {
	return fmt.Sprintf("sample:temperature=%v,top_k=%d,top_p=%v,min_p=%v,penalty=%v,seed=%d,position=%d",
		s.temperature, s.topK, s.topP, s.minP, s.penalty, s.seed, s.position)
}

// withDefaults switches off what a crafted case does not set; top-p 0 is meant where the case's name says top-p.
func (s sampling) withDefaults(name string) sampling {
	if s.penalty == 0 {
		s.penalty = 1
	}
	if s.topP == 0 && name != "top-p 0 keeps the likeliest" {
		s.topP = 1
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	s.seed = uint64(hash.Sum32())
	return s
}

type sampled struct {
	token         int32
	probabilities []float32
}

func sampleOp(s sampling, logits []float32, history []int32) (native.Op, func() sampled) {
	token := native.Tensor{DType: native.I32, Shape: shape(1), Data: make([]byte, 4)}
	probabilities := floatTensor(make([]float32, len(logits)), len(logits))
	op := native.Op{
		Name: "sample", Inputs: []native.Tensor{floatTensor(logits, len(logits)), intTensor(history)},
		Outputs: []native.Tensor{token, probabilities},
		Parameters: map[string]float64{
			"temperature": s.temperature, "top_k": float64(s.topK), "top_p": s.topP, "min_p": s.minP, "repetition_penalty": s.penalty,
			"seed_low": float64(uint32(s.seed)), "seed_high": float64(uint32(s.seed >> 32)), "position": float64(s.position),
		},
	}
	return op, func() sampled {
		return sampled{token: intsOf(token.Data)[0], probabilities: floatsOf(probabilities.Data)}
	}
}

func runSample(context native.Context, s sampling, logits []float32, history []int32) sampled {
	GinkgoHelper()
	op, result := sampleOp(s, logits, history)
	Expect(context.RunOp(op)).To(Succeed(), s.String())
	return result()
}

// reference is what a draw may give: probabilities with bounds, and the tokens that the random number allows (two where it
// falls on a boundary within the bounds).
type reference struct {
	probabilities []float64
	bounds        []float64
	tokens        []int32
}

// referenceSample follows the documented order: repetition penalty, temperature, top-k, top-p, min-p, draw. The penalty and
// the temperature are single roundings and are done in binary32, so that ties stay ties; the rest is float64.
//
// A probability's relative error: the difference to the largest logit and its exp give (|d| + 2) u, the sum the weighted mean
// of those, conversions and the division 4 u. Weights are kept in steps of 2^-40, which adds an absolute 2^-40 each.
func referenceSample(s sampling, logits []float32, history []int32) reference {
	n := len(logits)
	scaled := make([]float64, n)
	seen := map[int32]bool{}
	for _, id := range history {
		seen[id] = true
	}
	for i, logit := range logits {
		if seen[int32(i)] && s.penalty != 1 {
			if logit > 0 {
				logit /= float32(s.penalty)
			} else {
				logit *= float32(s.penalty)
			}
		}
		if s.temperature > 0 {
			logit /= float32(s.temperature)
		}
		scaled[i] = float64(logit)
	}
	ranked := order(scaled)
	out := reference{probabilities: make([]float64, n), bounds: make([]float64, n)}
	if s.temperature == 0 {
		out.probabilities[ranked[0]] = 1
		out.tokens = []int32{int32(ranked[0])}
		return out
	}
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = math.Exp(scaled[i] - scaled[ranked[0]])
	}
	kept := filter(s, ranked, weights)
	out.fill(kept, scaled, weights, scaled[ranked[0]])
	word := philox([4]uint32{uint32(s.position)}, [2]uint32{uint32(s.seed), uint32(s.seed >> 32)})[0]
	out.draw(float64(word) / 0x1p32)
	return out
}

// filter returns which ids stay after top-k, top-p and min-p.
func filter(s sampling, ranked []int, weights []float64) []bool {
	candidates := ranked
	if s.topK > 0 && s.topK < len(ranked) {
		candidates = ranked[:s.topK]
	}
	if s.topP < 1 {
		var total, sum float64
		for _, id := range candidates {
			total += weights[id]
		}
		for i, id := range candidates {
			if sum += weights[id]; sum >= float64(float32(s.topP))*total {
				candidates = candidates[:i+1]
				break
			}
		}
	}
	kept := make([]bool, len(weights))
	for _, id := range candidates {
		kept[id] = weights[id] >= float64(float32(s.minP))
	}
	return kept
}

func (r *reference) fill(kept []bool, scaled, weights []float64, largest float64) {
	var total, totalError float64
	errors := make([]float64, len(weights))
	for i, weight := range weights {
		if kept[i] {
			errors[i] = weight*(math.Abs(scaled[i]-largest)+2)*u + 0x1p-40
			total += weight
			totalError += errors[i]
		}
	}
	for i, weight := range weights {
		if kept[i] {
			p := weight / total
			r.probabilities[i] = p
			r.bounds[i] = (errors[i]/total + p*(totalError/total+4*u)) * slack
		}
	}
}

// draw takes the first id whose cumulative probability exceeds the random number, and its neighbour where the number is
// within the bounds of the boundary between them.
func (r *reference) draw(random float64) {
	var sum, uncertainty float64
	for i, p := range r.probabilities {
		if p == 0 {
			continue
		}
		previous := sum
		sum += p
		uncertainty += r.bounds[i]
		if random < sum+uncertainty && random >= previous-uncertainty {
			r.tokens = append(r.tokens, int32(i))
		}
	}
}
