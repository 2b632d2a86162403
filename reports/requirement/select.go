package requirement

import (
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// Select makes the tree of specs that is built from now on the registry's: a container or spec with a claim is labelled with
// the row that lists it, so that rows can be filtered by their ids, and a container whose claim no row lists stays empty. The
// function it returns ends that. It must be called before the tree is built.
func (r *Registry) Select() (stop func()) {
	return ginkgo.AddTreeConstructionNodeArgsTransformer(func(node types.NodeType, _ ginkgo.Offset, text string, args []any) (string, []any, []error) {
		var claims []string
		body := -1
		for i, arg := range args {
			switch a := arg.(type) {
			case ginkgo.Labels:
				claims = append(claims, Claims(a)...)
			case func():
				body = i
			}
		}
		for _, claim := range claims {
			row, listed := r.RowOf(claim)
			switch {
			case listed:
				args = append(args, ginkgo.Label(row.ID))
			case node == types.NodeTypeContainer && body >= 0:
				args[body] = func() {}
			default:
				return text, args, []error{fmt.Errorf(
					"nothing was run: spec %q makes the claim %s, which no row of the registry %q lists: put claims on containers, "+
						"which a gate can leave out", text, claim, r.Gate)}
			}
		}
		return text, args, nil
	})
}
