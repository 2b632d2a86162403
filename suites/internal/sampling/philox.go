package sampling

import "math/bits"

// Philox is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC11).
func Philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	for range 10 {
		high0, low0 := bits.Mul32(0xD2511F53, counter[0])
		high1, low1 := bits.Mul32(0xCD9E8D57, counter[2])
		counter = [4]uint32{high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return counter
}

// Uniform is the random number in [0, 1) of a seed and a position: the first word over 2^32.
func Uniform(seed uint64, position int) float64 {
	word := Philox([4]uint32{uint32(position)}, [2]uint32{uint32(seed), uint32(seed >> 32)})[0]
	return float64(word) / 0x1p32
}
