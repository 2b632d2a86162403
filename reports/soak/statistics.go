package soak

import "math"

// confidence of the bounds that a report states.
const confidence = 0.95

// UpperBound is the exact (Clopper-Pearson) one-sided upper bound, at 95 % confidence, on the probability that a run
// fails, when failures of n independent runs failed. Without a failure it is 1 - 0.05^(1/n). It is 1 for n = 0.
func UpperBound(n, failures int) float64 {
	switch {
	case failures >= n:
		return 1
	case failures == 0:
		return -math.Expm1(math.Log(1-confidence) / float64(n))
	}
	low, high := float64(failures)/float64(n), 1.0
	for range 100 { // bisection: each step halves the interval
		middle := (low + high) / 2
		if atMost(failures, n, middle) > 1-confidence {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// atMost is the probability of at most k failures in n runs that each fail with probability p, 0 < p < 1.
func atMost(k, n int, p float64) float64 {
	logChoose := func(j int) float64 {
		a, _ := math.Lgamma(float64(n) + 1)
		b, _ := math.Lgamma(float64(j) + 1)
		c, _ := math.Lgamma(float64(n-j) + 1)
		return a - b - c
	}
	sum := 0.0
	for j := 0; j <= k; j++ {
		sum += math.Exp(logChoose(j) + float64(j)*math.Log(p) + float64(n-j)*math.Log1p(-p))
	}
	return sum
}

// RuleOfThree approximates the bound of n clean runs by 3/n.
func RuleOfThree(n int) float64 { return math.Min(1, 3/float64(max(n, 1))) }

// RunsToSee is how many runs show a failure of the given rate at least once with 95 % probability.
func RunsToSee(rate float64) int {
	if rate >= 1 {
		return 1
	}
	return int(math.Ceil(math.Log(1-confidence) / math.Log1p(-rate)))
}
