package cputest

import (
	"fmt"
	"testing"
)

var isas = []struct {
	name   string
	number int
}{{"scalar", 1}, {"avx2", 2}, {"avx512", 3}, {"neon", 4}}

var checks = []string{
	"linear/f32", "linear/f16", "linear/bf16", "linear/q8_0", "linear/q4_0", "linear/q4_1", "linear/q5_0", "linear/q5_1",
	"linear/q4_k", "linear/q5_k", "linear/q6_k",
	"quantize", "norm", "softmax", "activate", "rope", "half", "attention", "pass", "memory", "sample", "pool",
}

func TestKernelsHaveTheBitsOfTheContract(t *testing.T) {
	for _, isa := range isas {
		for _, check := range checks {
			t.Run(fmt.Sprintf("%s/%s", isa.name, check), func(t *testing.T) {
				switch report := Run(check, isa.number, 20261123); report {
				case "":
				case "absent":
					t.Skipf("this processor lacks %s", isa.name)
				default:
					t.Error(report)
				}
			})
		}
	}
}
