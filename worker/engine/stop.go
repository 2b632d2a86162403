package engine

import "strings"

// stopMatcher looks for stop sequences in text that arrives in pieces. Text that could be the beginning of a stop sequence
// is held back until it is known not to be. The result does not depend on how the text is cut into pieces.
type stopMatcher struct {
	stops []string
	held  string
}

// push adds text. It returns what may be shown, and the stop sequence that was completed, if any: the one that ends
// first, the longest of those that end together. Text from its beginning on is dropped.
func (m *stopMatcher) push(text string) (shown, stop string) {
	text = m.held + text
	end := len(text) + 1
	for _, candidate := range m.stops {
		if i := strings.Index(text, candidate); i >= 0 {
			if last := i + len(candidate); last < end || last == end && len(candidate) > len(stop) {
				end, stop = last, candidate
			}
		}
	}
	if stop != "" {
		m.held = ""
		return text[:end-len(stop)], stop
	}
	keep := 0
	for _, candidate := range m.stops {
		for n := min(len(candidate)-1, len(text)); n > keep; n-- {
			if strings.HasSuffix(text, candidate[:n]) {
				keep = n
				break
			}
		}
	}
	m.held = text[len(text)-keep:]
	return text[:len(text)-keep], ""
}

// flush returns what was held back, at the end of the text.
func (m *stopMatcher) flush() string {
	held := m.held
	m.held = ""
	return held
}
