package target

import (
	"github.com/onsi/ginkgo/v2"

	"touchstone/suites/goldens"
)

// Goldens are those of the model under test. It skips the spec where there are none: a model of the user's own has no oracle
// here, and a worker that chose its model may serve any.
func (t *Target) Goldens() goldens.Goldens {
	ginkgo.GinkgoHelper()
	bundled, err := goldens.Bundled()
	if err != nil {
		ginkgo.Fail("the goldens of the bundled model cannot be read: " + err.Error())
	}
	served := t.Profile.ModelSHA256
	if t.Profile.GivesModel() {
		served = t.shared.ModelSHA256
	}
	if served != bundled.SHA256 {
		ginkgo.Skip("needs goldens of this model: only the bundled model has them")
	}
	return bundled
}
