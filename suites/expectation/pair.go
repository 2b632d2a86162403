package expectation

// What a pair's prompts and answers are made of: a pair is asked for again and again, so it is short.
const (
	leastWords, mostWords   = 2, 4  // of the first prompt
	mostMore                = 2     // words by which the second goes on
	leastAnswer, mostAnswer = 4, 24 // tokens
	// pairTopK is the most that top_k is: the model and its vocabulary need not be known.
	pairTopK = 100
)

// Pair draws two requests with prompts as text, for any model: the second prompt goes on where the first ends, so that the two
// share a prefix. The same seed, index and offer give the same pair. Indices are from 0; no case of the seed is drawn from
// the same numbers.
func Pair(seed uint64, index int, offer Offer) [2]Request {
	source := Random(seed, -2-index) // Bursts has -1, cases have 0 and more
	var pair [2]Request
	text := ""
	for i := range pair {
		q := neutral(seed, index)
		if i == 0 {
			text = words(source, leastWords+source.IntN(mostWords-leastWords+1))
		} else {
			text += words(source, 1+source.IntN(mostMore))
		}
		q.Prompt.Text = text
		q.MaxTokens = min(leastAnswer+source.IntN(mostAnswer-leastAnswer+1), offer.MaxTokens)
		q.sampling(source, offer, pairTopK)
		pair[i] = q
	}
	return pair
}
