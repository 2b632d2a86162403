package soak

import (
	"fmt"
	"strconv"
	"strings"
)

// Shard is a part of a soak: the runs whose index leaves the remainder Index when divided by Of. The zero value is all.
type Shard struct{ Index, Of int }

// ParseShard reads "k/n" with 0 <= k < n.
func ParseShard(text string) (Shard, error) {
	first, second, found := strings.Cut(text, "/")
	index, err := strconv.Atoi(first)
	of, err2 := strconv.Atoi(second)
	if !found || err != nil || err2 != nil || index < 0 || index >= of {
		return Shard{}, fmt.Errorf("--shard: %q is not k/n with 0 <= k < n, such as 0/4", text)
	}
	return Shard{Index: index, Of: of}, nil
}

// String gives "k/n".
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, max(s.Of, 1)) }

// Has tells whether the run belongs to the shard.
func (s Shard) Has(index int) bool { return s.Of <= 1 || index%s.Of == s.Index }
